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

function rowOf(item, usesMetadata) {
  const picture = make("td");
  if (item.thumbnail) picture.append(Object.assign(document.createElement("img"), { src: item.thumbnail, alt: "" }));
  return make(
    "tr",
    picture,
    Object.assign(nameElement("th", item.file), { scope: "row" }),
    make("td", item.answer ? words.decisionWords(item.answer.decision) : say("without_answer")),
    make("td", item.answer ? words.shareOf(item.answer) : "–"),
    make("td", remarksOf(item, usesMetadata)),
  );
}

function patientWords({ age, sex }) {
  const parts = [age && `${say("age")}: ${age}`, sex && `${say("sex")}: ${nameOf("sexes", sex)}`].filter(Boolean);
  return parts.length ? say("summary_patient", { patient: parts.join("; ") }) : "";
}

// What each decision that occurs means. One answer stands for all of its decision: only the frequency is of one image.
function meanings(items, card) {
  const first = new Map(items.filter(({ answer }) => answer).map(({ answer }) => [answer.decision, answer]));
  return [...first.values()].map((answer) => {
    const sentences = answer.error ? [say("not.unassessable")] : words.meaningSentences(answer, card);
    const general = sentences.length === 3 ? [sentences[0], sentences[2]] : sentences;
    return make("p", make("strong", `${words.decisionWords(answer.decision)}. `), general.join(" "));
  });
}

export function drawSummary(items, card, patient) {
  const answered = items.filter(({ answer, error }) => answer || error);
  at("summary").hidden = card === null || answered.length === 0;
  if (at("summary").hidden) return;
  const date = dateText(new Date());
  const { network, checkpoint_id: checkpoint } = card;
  const threshold = shareText(card.decision_threshold);
  at("summary-printed").textContent = say("summary_printed", { date, network, checkpoint, threshold });
  const first = answered.find(({ answer }) => answer)?.answer ?? {};
  at("summary-probability").textContent = words.probabilityWords(first);
  at("summary-patient").textContent = card.uses_metadata ? patientWords(patient) : "";
  at("summary-rows").replaceChildren(...rank(answered).map((item) => rowOf(item, card.uses_metadata)));
  at("summary-meanings").replaceChildren(...meanings(answered, card));
}
