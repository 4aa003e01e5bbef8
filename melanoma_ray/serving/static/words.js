// What an answer means and what it doesn't, in sentences that are made from its numbers.

import { nameOf, say, shareText, sizeText } from "./texts.js";

const HIGH_THRESHOLD = 0.5; // from which routine may hold what is more likely a melanoma than not
const WORRYING = 0.1; // melanoma probability from which nobody should take routine for an all-clear

export const decisionWords = (decision) => say(`decisions.${decision}.words`);
export const diagnosisWords = (diagnosis) => nameOf("diagnoses", diagnosis);
export const fileName = (file) => file.name || say("unnamed");
const referredFor = (answer, key) => say(`referred.${answer.referred_for ?? "melanoma"}.${key}`);
export const probabilityWords = (answer) => referredFor(answer, "probability");

export const shareOf = ({ melanoma_probability: share }) => (share === null ? say("no_probability") : shareText(share));

export function errorWords(error) {
  const { status, problem, seconds, own } = error;
  if (own !== undefined && own !== null) {
    const sizes = Object.entries(own.sizes ?? {}).map(([name, bytes]) => [name, sizeText(bytes)]);
    return say(own.key, { ...own.values, ...Object.fromEntries(sizes) });
  }
  if (status === 429 || status === 503) return say("busy", { seconds: seconds ?? "?" });
  if (problem) {
    const title = nameOf("problems", problem.type.split(":").at(-1), problem.title);
    return say("problem", { title, detail: problem.detail });
  }
  return status ? say("unexplained", { status }) : error.message;
}

function frequencyWords(answer) {
  const rounded = Math.round(100 * answer.melanoma_probability);
  const key = rounded < 1 ? "fewer" : rounded > 99 ? "more" : "about";
  return say("frequency", { number: say(key, { number: rounded }), are: referredFor(answer, "are") });
}

// The description of the model that gave an answer. Of one that is served no more there is what the answer itself tells.
export function modelOf(answer, card) {
  const known = [card, card.canary].find((one) => one?.checkpoint_id === answer.checkpoint_id);
  return known ?? answer;
}

// Sentences below the decision: what it means, and what it doesn't.
export function meaningSentences(answer, card) {
  if (answer.error) return [say("no_answer", { error: answer.error }), say("not.unassessable")];
  const caught = modelOf(answer, card).target_sensitivity;
  const limits = say(`not.${answer.decision}`, {
    target: shareText(caught),
    missed: shareText(1 - caught),
    those: referredFor(answer, "those"),
  });
  const meaning = say(`decisions.${answer.decision}.meaning`);
  return answer.decision === "unassessable" ? [meaning, limits] : [meaning, frequencyWords(answer), limits];
}

// The warning that a routine answer is no all-clear, where the threshold is high; null: there is none to give.
export function warningWords(answer) {
  const { decision, decision_threshold: threshold, melanoma_probability: share } = answer;
  if (decision !== "routine" || threshold < HIGH_THRESHOLD || share < WORRYING) return null;
  const those = referredFor(answer, "those");
  const high = say("high_threshold", { threshold: shareText(threshold), those, are: referredFor(answer, "are") });
  return `${say("no_all_clear", { share: shareText(share) })} ${high}`;
}

export function predictedWords({ diagnosis, probabilities }) {
  if (!diagnosis) return "";
  const [likeliest] = Object.entries(probabilities).reduce((best, one) => (one[1] > best[1] ? one : best));
  const words = { diagnosis: diagnosisWords(diagnosis), likeliest: diagnosisWords(likeliest) };
  return say(diagnosis === likeliest ? "predicted" : "predicted_balanced", words);
}

export function possibleWords(answer, card) {
  const { prediction_set: possible } = answer;
  const { set_coverage: coverage } = modelOf(answer, card);
  if (!possible?.length || !coverage) return "";
  return say("possible", { diagnoses: possible.map(diagnosisWords).join(", "), coverage: shareText(coverage) });
}

export function qualityWords({ warnings }) {
  if (!warnings?.length) return "";
  return say("quality", { warnings: warnings.map((warning) => nameOf("warnings", warning)).join(", ") });
}

// What the status says when all images have their answers.
export function doneWords(items) {
  const { answer } = items[0];
  if (items.length === 1 && answer.melanoma_probability === null) {
    return say("done_none", { decision: decisionWords(answer.decision), error: meaningSentences(answer)[0] });
  }
  if (items.length === 1) {
    return say("done", {
      decision: decisionWords(answer.decision),
      probability: probabilityWords(answer),
      share: shareOf(answer),
      threshold: shareText(answer.decision_threshold),
    });
  }
  const counts = ["refer", "routine", "unassessable"].map((decision) => [
    items.filter((item) => item.answer?.decision === decision).length,
    decisionWords(decision),
  ]);
  counts.push([items.filter((item) => item.error).length, say("without_answer")]);
  const parts = counts.filter(([count]) => count).map(([count, words]) => `${count} × ${words}`);
  return say("done_several", { number: items.length, parts: parts.join("; ") });
}
