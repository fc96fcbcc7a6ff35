"use strict";
// The invitation stands behind the "#" of the link: the browser sends it to nobody but, in the end, with the answer.
const invitation = location.hash.slice(1);
const form = document.getElementById("form");
const said = document.getElementById("said");
const started = Date.now();
const SCALE = ["Not at all", "A little", "Mostly", "Fully"];
const ABOUT = {
  department: null,
  position_level: ["Entry", "Mid", "Senior", "Executive"],
  tenure_range: ["<1_year", "1-3_years", "4-7_years", "8+_years"],
  age_range: ["18-24", "25-34", "35-44", "45-54", "55-64", "65+"],
  gender_identity: ["Man", "Woman", "Non-binary", "Prefer_not_to_say"],
  work_location: ["On_Site", "Remote", "Hybrid"],
};
let asked;

function made(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function statement(one) {
  const scale = SCALE.map((word, at) =>
    made("label", {}, made("input", { type: "radio", name: one.name, value: at + 1 }), document.createElement("br"), word));
  return made("fieldset", {}, made("legend", { textContent: one.text }), made("div", { className: "scale" }, ...scale));
}

function choice(name, words) {
  const title = name.replaceAll("_", " ");
  const field = words
    ? made("select", { name }, made("option", { value: "", textContent: "not said" }),
        ...words.map((word) => made("option", { value: word, textContent: word.replaceAll("_", " ") })))
    : made("input", { type: "text", name, maxLength: 60 });
  return made("label", {}, title, field);
}

async function show() {
  if (!invitation) {
    said.textContent = "This page needs the whole link of an invitation.";
    return;
  }
  const domain = new URLSearchParams(location.search).get("domain") ?? "Business";
  const answer = await fetch(`/survey/statements?domain=${encodeURIComponent(domain)}`);
  asked = await answer.json();
  document.getElementById("statements").append(...asked.statements.map(statement));
  document.getElementById("open").append(...asked.open_questions.map((one) =>
    made("fieldset", {}, made("legend", { textContent: one.text }), made("textarea", { name: one.name, rows: 3, maxLength: 4000, ariaLabel: one.text }))));
  document.getElementById("about").append(...Object.entries(ABOUT).map(([name, words]) => choice(name, words)));
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
  return {
    invitation,
    survey_responses: ratings,
    text_responses: filled(asked.open_questions.map((one) => one.name)),
    demographics: filled(Object.keys(ABOUT)),
    response_quality: { seconds: Math.round((Date.now() - started) / 1000) },
  };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
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
    if (told.resources.length) {
      const lines = told.resources.map((one) => made("li", {}, made("strong", { textContent: one.name }), `: ${one.contact} (${one.hours})`));
      said.append(made("div", { className: "help" },
        made("p", { textContent: "Some of what you wrote sounds heavy. You do not have to carry it alone; these people listen:" }), made("ul", {}, ...lines)));
    }
  } catch (error) {
    said.textContent = `Your answer was not sent: ${error.message}`;
    button.disabled = false;
  }
});

show().catch(() => { said.textContent = "The survey cannot be reached just now. Please try again later."; });
