// The answer for the image that is shown: the decision, what it means, and every probability.

import { say, shareText } from "./texts.js";
import * as words from "./words.js";

const at = (id) => document.getElementById(id);
const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

function addBar(diagnosis, share, isReferred) {
  const row = make("li");
  const track = make("div", { className: "track" });
  const fill = make("div", { className: "fill" });
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  row.classList.toggle("is-referred", isReferred);
  row.append(
    make("span", { textContent: words.diagnosisWords(diagnosis) }),
    track,
    make("span", { className: "number", textContent: shareText(share) }),
  );
  at("probabilities").append(row);
}

// Offer the diagnoses in the order of their probability; the one that was chosen stays chosen for the same image.
function offerDiagnoses(sorted, chosen, referred) {
  at("diagnosis").replaceChildren(
    ...sorted.map(([diagnosis]) => new Option(words.diagnosisWords(diagnosis), diagnosis)),
  );
  const offered = sorted.map(([diagnosis]) => diagnosis);
  at("diagnosis").value = [chosen, ...referred, offered[0]].find((diagnosis) => offered.includes(diagnosis)) ?? "";
}

function fillText(id, text) {
  at(id).textContent = text;
  at(id).hidden = !text;
}

export function showAnswer(item, card, { keepsDiagnosis = false } = {}) {
  const { answer, file } = item;
  const sorted = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const referred = card.referred?.length ? card.referred : ["melanoma"];
  at("result").className = answer.decision;
  at("decision").textContent = words.decisionWords(answer.decision);
  at("reasons").replaceChildren(
    ...words.meaningSentences(answer, card).map((sentence) => make("p", { textContent: sentence })),
  );
  fillText("no-all-clear", words.warningWords(answer) ?? "");
  fillText("quality", words.qualityWords(answer));
  at("probability-title").textContent = words.probabilityWords(answer);
  at("melanoma").textContent = words.shareOf(answer);
  at("melanoma-fill").style.width = `${100 * (answer.melanoma_probability ?? 0)}%`;
  at("threshold-mark").style.left = `${100 * answer.decision_threshold}%`;
  at("threshold").textContent = say("referred_from", { threshold: shareText(answer.decision_threshold) });
  fillText("predicted", words.predictedWords(answer));
  fillText("possible", words.possibleWords(answer, card));
  at("probabilities").replaceChildren();
  for (const [diagnosis, share] of sorted) addBar(diagnosis, share, referred.includes(diagnosis));
  offerDiagnoses(sorted, keepsDiagnosis ? at("diagnosis").value : null, referred);
  at("explaining").hidden = !sorted.length;
  at("name").textContent = words.fileName(file);
  at("site").value = item.site;
  at("synthetic").hidden = !answer.is_synthetic;
  at("result").hidden = false;
}
