//! Sentences that the lexicon must find, and those that it must leave alone.

use super::*;

/// Somebody should look at once.
const CRISES: &[&str] = &[
    "I want to end it",
    "I want to end it.",
    "I just want to end it all",
    "i cant go on",
    "I can't go on like this",
    "I can not go on any more",
    "I do not want to live any more",
    "i dont wanna live anymore",
    "I have been thinking about ending my life",
    "I think about suicide every day because of this place",
    "I feel suicidal",
    "I am suicdal and nobody at work knows",
    "sometimes I think about sucide",
    "I am not ok. I am suicidal.",
    "I feel like killing myself when I think of going back",
    "kms honestly, I mean it",
    "some days I think everyone would be better off without me",
    "I would be better off dead",
    "I don't see a reason to be alive any more",
    "there is no reason for me to live",
    "I wish I would not wake up tomorrow",
    "I wish I was dead",
    "I wish I had never been born",
    "I have written goodbye letters",
    "I am scared of myself",
    "I started to harm myself again since he took over",
    "I hurt myself because of the job",
    "I am not safe with my own thoughts at night",
    "I can't take it any more and I don't care if I die",
    "life is not worth it any more",
    "life's over, not worth living",
    "I almost ended my life in the spring",
    "everything would stop if I was dead",
    "I have thoughts of taking my own life",
    "I am done with living, honestly",
    "I have nothing left to live for",
    "I can't stop thinking about suicide",
    "I don't know if I want to die",
    "I do not only think of dying, I have a date",
    "It is not the work, I want to die",
    "I'm tired of being alive",
    "there is no way out for me except to be gone",
    "I am afraid a colleague is going to kill themselves, please help them",
    "a postdoc told me they want to die and nobody acts",
    "my friend wants to die and I do not know whom to tell",
    "someone on my team tried to take their life and we were told not to speak of it",
    "I fear for the life of a nurse, they talk about ending it",
    "my boss said he will kill me if I report it and I believe it",
    "he threatened to kill me",
    "I am afraid I will be beaten again, he waits for me after work",
    "he hit me in the storage room",
    "I was raped by a supervisor",
    "I was sexually assaulted at the conference",
    "I have fantasies of hurting him and I am scared I will do it",
    "I want to hurt someone, I am scared of it",
    "I feel worthless and there is no way out",
    "No, I really do want to die.",
    "There's nothing I want more than to die.",
    "Not a day goes by that I don't think about ending my life.",
    "I don't know why I haven't killed myself yet.",
    "Everyone would be better off if I was gone.",
    "I want to go to sleep and never wake up.",
    "I wish I didn't exist.",
    "I cut myself in the toilets at work.",
    "I've started cutting again.",
    "I burn myself to feel something.",
    "I'm going to overdose tonight.",
    "I took too many pills last weekend on purpose.",
    "I tried to hang myself last month.",
    "I've thought about driving into a tree on my way to work.",
    "Sometimes I think about jumping.",
    "I just want the pain to stop for good.",
    "My manager forced himself on me.",
    "My husband's going to hurt me when he finds out.",
    "A coworker said he'd bring a gun to work.",
    "Someone will get shot here.",
    "He said he would make me disappear.",
    "I don't feel safe with myself at night.",
    "I was beaten by my manager.",
    "If this goes on I'll jump off the roof",
    "I will jump off a bridge",
    "I want to jump in front of a train",
    "I have a rope ready",
    "I will slit my wrists",
    "kill my self",
    "i wnat to end my lfie",
    "He said he'd kill me if I report it",
    "my boss said he will stab me",
    "sleeping pills, all of them, tonight",
    "I don't want to kill myself but I can't stop thinking about it",
    "I am not suicidal but I keep thinking of dying",
    "they will pay for this with their lives",
    "My will to live is gone and I don't think I can survive another month",
    "wish i was never born",
    "she grabbed my breast",
    "I could throw myself under a train",
    "I have all the sleeping pills, all of them",
    "I swallowed all the pills",
    "I'm about to jump in front of a train",
    "some days I am close to jumping in front of the train",
    "I wanted to jump in front of the tram",
    "I wanted to step in front of traffic",
    "I'm going to jump from the window of my office",
    "I'll jump from the platform when the train comes",
    "I took all of my pills",
    "tablets, all of them at once",
    "I have a noose",
    "I want to throw myself in front of a train",
];

/// Heavy or light, but not this.
const NOT_CRISES: &[&str] = &[
    "I am not afraid to speak up",
    "this deadline is killing me",
    "the deadline is killing me but we will get there",
    "I would kill for a decent chair",
    "I could kill my boss, he ate the last doughnut",
    "I am dying to see the new building",
    "the stairs will be the death of me",
    "my feet are killing me",
    "I nearly died laughing at the party",
    "the printer has a death wish",
    "the old system died and nobody misses it",
    "I am dead tired on Mondays",
    "we end it with cake on Fridays",
    "I want to end it on a positive note",
    "let us end it early on Fridays",
    "time to kill the weekly status mail",
    "this is not a hill to die on",
    "I can't go on holiday in August",
    "I cannot go on leave when I want",
    "I can't go on business trips with a small child",
    "this can't go on, the rota must change",
    "the project is on life support",
    "that would be career suicide",
    "we need better suicide prevention training",
    "the ward cares for suicidal patients and we need more staff",
    "I am not suicidal, just tired",
    "I have never thought about suicide",
    "I do not want to die, I want a holiday",
    "no thoughts of dying here, only of retiring",
    "nobody here has ever threatened me",
    "I have never wanted to end my life",
    "I never feel unsafe here",
    "I hurt myself lifting a patient",
    "I hurt myself on the old trolley",
    "it hit me that nobody had planned this",
    "the news hit me hard",
    "he beat me to it",
    "my boss will kill me if I am late again",
    "I live far away, the commute is long",
    "the coffee machine broke down again",
    "the building is falling apart",
    "we killed it this quarter",
    "I don't want to be here any more, I am looking for another job",
    "I am exhausted and I do not recover at the weekend",
    "I had a panic attack before the audit",
    "I feel burnt out",
    "I dread Mondays",
    "management ended the project",
    "I want it to stop, the noise in the office I mean",
    "we need a way out of the old contract",
    "the team would like to end the night shifts",
    "people are better off with flexible hours",
    "I was taken off the project",
    "HR talks about ending the contract",
    "I lost my voice after three days of teaching",
    "take your own lunch, the canteen is awful",
    "best team ever, another weekend stolen",
    "life is good here",
    "I have a reason to live near the office",
    "the workload is murder in March",
    "",
    "nothing to add",
    "I drive 40 kms every day to work.",
    "There is nothing left for me to complain about.",
    "We got beaten by a competitor on the tender.",
    "I cannot go on like this with the old laptop, please replace it.",
    "I cut myself on a box and the first aider came.",
    "They can cope without me when I take leave.",
    "If I die of boredom in this meeting, tell my wife.",
    "I work on the suicide ward and love it.",
    "It would be suicide to disagree with him.",
    "All I want is to go home and die on the couch with a film.",
    "The overdose training was useful.",
    "We should get shot of the old printer.",
    "I think about jumping ship every spring.",
    "I want to jump off the call at noon",
    "we jump from meeting to meeting",
    "they jump in front of the queue",
    "I lost the will to live in that meeting",
    "I cut my wrist on the printer",
    "I took all the tablets to the ward",
    "the charger pills, all of them were old",
    "I do not want to kill the mood but I keep thinking about lunch",
    "it hurts my self esteem",
    "we jump off the bus and run",
    "My manager said he'd shoot me an email",
    "They told us they will shoot us an invite",
    "I jump from building to building all day",
    "jumping from the platform team to support",
    "I threw myself out there",
    "I throw myself under the bus for my team",
    "I have the pills ready before the ward round",
    "Count the pills and check all of them",
    "IT took all our tablets",
    "The deadline is a noose around our neck",
    "People step in front of the forklift truck",
    "I did not hurt myself but I keep thinking about that ladder",
];

#[test]
fn wordings_of_danger_are_found() {
    let missed: Vec<&&str> = CRISES
        .iter()
        .filter(|text| !Lexicon::shipped().read(text).is_crisis)
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn idioms_denials_and_ordinary_complaints_are_no_crisis() {
    let taken: Vec<(&str, Vec<Indicator>)> = NOT_CRISES
        .iter()
        .map(|text| (*text, Lexicon::shipped().read(text)))
        .filter(|(_, reading)| reading.is_crisis)
        .map(|(text, reading)| (text, reading.indicators))
        .collect();
    assert!(taken.is_empty(), "{taken:#?}");
}

#[test]
fn the_words_that_carried_it_are_given_with_their_places() {
    let text = "Fine week. But honestly I can’t go on, and I want to die.";
    let reading = Lexicon::shipped().read(text);
    let words: Vec<&str> = reading
        .indicators
        .iter()
        .map(|it| it.words.as_str())
        .collect();
    assert_eq!(words, ["I can’t go on", "want to die"]);
    for indicator in &reading.indicators {
        assert_eq!(&text[indicator.start..indicator.end], indicator.words);
    }
}

#[test]
fn intensity_rises_with_what_is_said() {
    let of = |text: &str| Lexicon::shipped().read(text).intensity;
    let calm = of("more plants would be nice");
    let tired = of("I am tired");
    let scared = of("I am so scared, he screams and I cry every day");
    let danger = of("I want to die");
    assert_eq!(calm, 0.0);
    assert!(
        tired > calm && scared > tired && danger >= 0.8,
        "{tired} {scared} {danger}"
    );
    assert!(of("I am never scared here") < tired);
}

#[test]
fn categories_are_told_by_their_words() {
    let reading =
        Lexicon::shipped().read("HR protects him, he screams at us and I am micromanaged");
    let found: Vec<Category> = Category::ALL
        .into_iter()
        .filter(|it| !reading.signals[it.index()].is_empty())
        .collect();
    assert_eq!(
        found,
        [
            Category::PowerAbuse,
            Category::Accountability,
            Category::Voice
        ]
    );
    let denied = Lexicon::shipped().read("nobody ever screams here");
    assert!(denied.signals.iter().all(Vec::is_empty));
}

#[test]
fn any_text_is_read_without_complaint() {
    for text in [
        "\u{0}",
        "💔💔💔",
        "''''",
        &"kill ".repeat(60_000),
        "ІІІ ’’ ñ",
    ] {
        Lexicon::shipped().read(text);
    }
}

#[test]
fn an_operator_s_lexicon_is_checked() {
    let text =
        include_str!("../../../data/hseg/lexicon.toml").replace("\nvoice = [", "\nvioce = [");
    assert!(matches!(
        Lexicon::parse(&text),
        Err(LexiconError::Category { .. })
    ));
    assert!(matches!(Lexicon::parse("[["), Err(LexiconError::Form(_))));
}
