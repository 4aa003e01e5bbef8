// The sheet that is printed: every image with its decision, and what the decisions mean. On the screen it is hidden.

import { nameElement, rank } from "./list.js";
import { dateText, nameOf, say, shareText } from "./texts.js";
import * as words from "./words.js";

const at = (id) => document.getElementById(id);
const make = (tag, ...children) => {
  const element = document.createElement(tag);
  element.append(...children);
  return element;
};

function remarksOf(item, usesMetadata) {
  const { answer, error } = item;
  if (error) return words.errorWords(error);
  const site = usesMetadata && item.site ? `${nameOf("sites", item.site)}. ` : "";
  return `${site}${words.qualityWords(answer)} ${words.warningWords(answer) ?? ""}`.trim();
}

function shareWords(answer, hasSeveral) {
  if (!answer) return "–";
  const threshold = say("referred_from", { threshold: shareText(answer.decision_threshold) });
  return hasSeveral ? `${words.shareOf(answer)} (${answer.checkpoint_id}: ${threshold})` : words.shareOf(answer);
}

function rowOf(item, usesMetadata, hasSeveral) {
  const picture = make("td");
  if (item.thumbnail) picture.append(Object.assign(document.createElement("img"), { src: item.thumbnail, alt: "" }));
  return make(
    "tr",
    picture,
    Object.assign(nameElement("th", item.file), { scope: "row" }),
    make("td", item.answer ? words.decisionWords(item.answer.decision) : say("without_answer")),
    make("td", shareWords(item.answer, hasSeveral)),
    make("td", remarksOf(item, usesMetadata)),
  );
}

function patientWords({ age, sex }) {
  const parts = [age && `${say("age")}: ${age}`, sex && `${say("sex")}: ${nameOf("sexes", sex)}`].filter(Boolean);
  return parts.length ? say("summary_patient", { patient: parts.join("; ") }) : "";
}

// The models whose answers there are, each with one of its answers; of a canary and what it may replace there are two.
const oneOfEach = (answers, nameOfKind) => [...new Map(answers.map((one) => [nameOfKind(one), one])).values()];

function modelWords(answers, card) {
  const models = answers.length ? oneOfEach(answers, (one) => one.checkpoint_id) : [card];
  const sentences = models.map((one) => {
    const { network } = words.modelOf(one, card);
    const facts = { network, checkpoint: one.checkpoint_id, threshold: shareText(one.decision_threshold) };
    return say(network ? "summary_model" : "summary_other_model", facts);
  });
  return sentences.join(" ");
}

// What each decision that occurs means, of each model. One answer stands for all of its kind: only the frequency is of
// one image.
function meanings(answers, card, hasSeveral) {
  return oneOfEach(answers, (one) => `${one.decision} ${one.checkpoint_id}`).map((answer) => {
    const sentences = answer.error ? [say("not.unassessable")] : words.meaningSentences(answer, card);
    const general = sentences.length === 3 ? [sentences[0], sentences[2]] : sentences;
    const model = hasSeveral ? ` (${answer.checkpoint_id})` : "";
    return make("p", make("strong", `${words.decisionWords(answer.decision)}${model}. `), general.join(" "));
  });
}

export function drawSummary(items, card, patient) {
  const answered = items.filter(({ answer, error }) => answer || error);
  at("summary").hidden = card === null || answered.length === 0;
  if (at("summary").hidden) return;
  const answers = answered.map(({ answer }) => answer).filter(Boolean);
  const hasSeveral = new Set(answers.map((one) => one.checkpoint_id)).size > 1;
  const printed = say("summary_printed", { date: dateText(new Date()) });
  at("summary-printed").textContent = `${printed} ${modelWords(answers, card)}`;
  at("summary-probability").textContent = words.probabilityWords(answers[0] ?? {});
  at("summary-patient").textContent = card.uses_metadata ? patientWords(patient) : "";
  at("summary-rows").replaceChildren(...rank(answered).map((item) => rowOf(item, card.uses_metadata, hasSeveral)));
  at("summary-meanings").replaceChildren(...meanings(answers, card, hasSeveral));
}
