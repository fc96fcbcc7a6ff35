"use strict";
// The invitation stands behind the "#" of the link: the browser sends it to nobody but, in the end, with the answer.
const invitation = location.hash.slice(1);
const form = document.getElementById("form");
const said = document.getElementById("said");
const started = Date.now();
const SCALE = ["Not at all", "A little", "Mostly", "Fully"];
// By field: how it is called, and what can be chosen; a field without words is written.
const ABOUT = {
  department: ["Department", null],
  position_level: ["Level", ["Entry", "Mid", "Senior", "Executive"]],
  supervises_others: ["You supervise others", ["yes", "no"]],
  tenure_range: ["Time here", ["<1_year", "1-3_years", "4-7_years", "8+_years"]],
  employment_status: ["Employment", ["Full_Time", "Part_Time", "Contract", "Intern"]],
  work_location: ["Where you work", ["On_Site", "Remote", "Hybrid"]],
  age_range: ["Age", ["18-24", "25-34", "35-44", "45-54", "55-64", "65+"]],
  gender_identity: ["Gender", ["Man", "Woman", "Non-binary", "Prefer_not_to_say"]],
  education_level: ["Education", ["High_School", "Some_College", "Bachelors", "Masters", "Doctorate"]],
};
// Several may be named.
const ETHNICITY = ["Asian", "Black", "Hispanic_Latino", "Indigenous", "Middle_Eastern", "Pacific_Islander", "White", "Other", "Prefer_not_to_say"];
// Stands in the middle; whoever reads it chooses as it says.
const ATTENTION = { name: "attention", text: "To show that somebody reads this, please choose \u201cA little\u201d.", right: 2 };
let asked;

function made(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function statement(one) {
  const scale = SCALE.map((word, at) =>
    made("label", {}, made("input", { type: "radio", name: one.name, value: at + 1 }), document.createElement("br"), word));
  const undo = made("button", { type: "button", className: "undo", textContent: "leave out", hidden: true });
  const field = made("fieldset", {}, made("legend", { className: "unseen", textContent: one.text }),
    made("div", { className: "asked", ariaHidden: "true", textContent: one.text }), made("div", { className: "scale" }, ...scale), undo);
  const marks = () => field.querySelectorAll("input");
  field.addEventListener("change", () => { undo.hidden = false; });
  undo.addEventListener("click", () => {
    marks().forEach((mark) => { mark.checked = false; });
    undo.hidden = true;
    marks()[0].focus();
  });
  return field;
}

function choice(name, [title, words]) {
  const field = words
    ? made("select", { name }, made("option", { value: "", textContent: "not said" }),
        ...words.map((word) => made("option", { value: word, textContent: word.replaceAll("_", " ") })))
    : made("input", { type: "text", name, maxLength: 60 });
  return made("label", {}, title, field);
}

function choices(name, title, words) {
  const boxes = words.map((word) =>
    made("label", {}, made("input", { type: "checkbox", name, value: word }), " ", word.replaceAll("_", " ")));
  return made("div", { role: "group", ariaLabel: title, className: "several" }, made("span", { ariaHidden: "true", textContent: title }), ...boxes);
}

// Where help is stands at the foot of the page, whatever becomes of the answer.
async function showHelp() {
  const country = new URLSearchParams(location.search).get("country") ?? "ZZ";
  const answer = await fetch(`/help-resources/${encodeURIComponent(country)}`);
  // What stands on the page is help that is there anywhere.
  if (!answer.ok) return;
  document.getElementById("lines").replaceChildren(...(await answer.json()).resources.map(help));
}

async function show() {
  if (!invitation) {
    said.textContent = "This page needs the whole link of an invitation.";
    return;
  }
  const domain = new URLSearchParams(location.search).get("domain") ?? "Business";
  const answer = await fetch(`/survey/statements?domain=${encodeURIComponent(domain)}`);
  const told = await answer.json();
  if (!answer.ok) {
    said.textContent = `This link is not whole: ${told.errors?.[0]?.came ?? told.detail} is no kind of workplace. Ask whoever sent it for a new one.`;
    return;
  }
  asked = told;
  const middle = Math.floor(asked.statements.length / 2);
  const statements = asked.statements.toSpliced(middle, 0, ATTENTION);
  document.getElementById("statements").append(...statements.map(statement));
  document.getElementById("open").append(...asked.open_questions.map((one) =>
    made("fieldset", {}, made("legend", { className: "unseen", textContent: one.text }),
      made("div", { className: "asked", ariaHidden: "true", textContent: one.text }), made("textarea", { name: one.name, rows: 3, maxLength: 4000, ariaLabel: one.text }))));
  document.getElementById("about").append(...Object.entries(ABOUT).map(([name, words]) => choice(name, words)),
    choices("ethnicity", "Ethnicity, as many as apply", ETHNICITY));
  form.hidden = false;
  said.textContent = "";
}

function collected() {
  const data = new FormData(form);
  const filled = (names) => Object.fromEntries(names.map((name) => [name, data.get(name)]).filter(([, value]) => value));
  const ratings = {};
  for (const one of asked.statements) {
    const mark = Number(data.get(one.name));
    if (mark) ratings[one.name] = one.is_positive ? mark : 5 - mark;
  }
  const quality = { seconds: Math.round((Date.now() - started) / 1000) };
  const attention = Number(data.get(ATTENTION.name));
  if (attention) quality.attention_passed = attention === ATTENTION.right;
  const demographics = filled(Object.keys(ABOUT));
  const ethnicity = data.getAll("ethnicity");
  if (ethnicity.length) demographics.ethnicity = ethnicity;
  return {
    invitation,
    survey_responses: ratings,
    text_responses: filled(asked.open_questions.map((one) => one.name)),
    demographics,
    response_quality: quality,
  };
}

// A number to call and an address on the web can be touched.
function contact(text) {
  if (/^https?:/.test(text)) return made("a", { href: text, textContent: text, rel: "noreferrer" });
  const parts = text.split(/(\+?\d[\d ]{1,}\d)/);
  return made("span", {}, ...parts.map((part) =>
    (/^\+?\d/.test(part) ? made("a", { href: `tel:${part.replaceAll(" ", "")}`, textContent: part }) : part)));
}

function help(one) {
  const note = one.note ? ` \u2013 ${one.note}` : "";
  return made("li", {}, made("strong", { textContent: one.name }), ": ", contact(one.contact), ` (${one.hours})${note}`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button[type=submit]");
  // A second press would be told that the invitation is used, in place of the thanks and the help.
  if (button.disabled) return;
  button.disabled = true;
  said.textContent = "Sending…";
  try {
    const answer = await fetch("/survey/responses", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(collected()),
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.errors?.[0]?.allowed ?? told.detail);
    form.remove();
    said.textContent = told.message;
    said.focus();
    if (told.resources.length) {
      const lines = told.resources.map(help);
      said.append(made("div", { className: "help" },
        made("p", { textContent: "Some of what you wrote sounds heavy. You do not have to carry it alone; these people listen:" }), made("ul", {}, ...lines)));
    }
  } catch (error) {
    said.textContent = `Your answer was not sent: ${error.message}. If it cannot wait, turn to the people below.`;
    button.disabled = false;
  }
});

// Another invitation pasted into the same tab is another person's.
addEventListener("hashchange", () => location.reload());
showHelp().catch(() => {});
show().catch(() => { said.textContent = "The survey cannot be reached just now. Please try again later."; });
