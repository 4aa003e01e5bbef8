// Choose images, have the service assess them, show its answers. All of it lies in this tab's memory and nowhere else.

import { showAnswer } from "./answer.js";
import { drawList, markShown, rank } from "./list.js";
import * as picture from "./picture.js";
import { Refusal, describeModel, logIn, logOut, predict } from "./service.js";
import { drawSummary } from "./summary.js";
import { currentLanguage, say, shareText, speak } from "./texts.js";
import { diagnosisWords, doneWords, errorWords } from "./words.js";

const at = (id) => document.getElementById(id);
const LANES = 2; // images that are asked about at a time: one is sent while the other is computed

let card = null; // description of the model, once it is loaded
let items = []; // each a file with its answer or its error, and its row in the list
let shown = null; // the one of them whose answer is shown
let isAttended = false; // whether a person looks at it, so that no other takes its place
let numChosen = 0;
let numAsking = 0;
let isExplaining = false;
let complaint = null; // the error that is shown above the list
let status = () => ""; // what the status says, in any language
let asking = new AbortController(); // of all requests, which end when all images are removed

function tell(words, { isBusy = false } = {}) {
  status = words;
  at("status").textContent = words();
  at("status").classList.toggle("busy", isBusy);
}

function complain(error) {
  complaint = error;
  at("error").textContent = error ? errorWords(error) : "";
  if (error) tell(() => "");
}

// Have the person log in, on a service that asks for keys; what was chosen stays in the list.
function askForKey() {
  at("login").hidden = false;
  at("form").hidden = at("logout").hidden = true;
  at("key").focus();
}

function draw(changed = []) {
  document.body.classList.toggle("chosen", items.length > 0);
  document.body.classList.toggle("several", items.length > 1);
  at("images").hidden = items.length < 2;
  at("actions").hidden = items.length === 0;
  drawList(items, { changed, shown, show: showByHand, askAgain });
  drawSummary(items, card, patientOf({}));
}

function show(item) {
  const keepsDiagnosis = shown === item;
  shown = item;
  showAnswer(item, card, { keepsDiagnosis });
  picture.showPicture(item);
  picture.describePicture();
  markShown(items, shown);
}

function showByHand(item) {
  isAttended = true;
  show(item);
  if (at("result").getBoundingClientRect().top > 0.6 * innerHeight) at("result").scrollIntoView({ block: "start" });
}

const patientOf = ({ site = "" }) => ({
  age: at("age").checkValidity() ? at("age").value : "",
  sex: at("sex").value,
  site,
});

async function ask(item, signal) {
  if (card === null) await start();
  const { size } = item.file;
  if (size > card.max_image_bytes) {
    throw new Refusal({ own: { key: "too_large", sizes: { size, allowed: card.max_image_bytes } } });
  }
  return predict(item.file, card.uses_metadata ? patientOf(item) : {}, signal);
}

async function answer(item) {
  const { signal } = asking;
  const turn = (item.turn = (item.turn ?? 0) + 1);
  try {
    const answered = { answer: await ask(item, signal), error: null };
    if (item.turn === turn) Object.assign(item, answered);
  } catch (error) {
    if (error.status === 401) askForKey();
    if (item.turn === turn) Object.assign(item, { answer: null, error });
  }
  if (signal.aborted || !items.includes(item)) return;
  item.thumbnail ??= await picture.makeThumbnail(item.file);
  if (!items.includes(item)) return;
  draw([item]);
  if (item === shown && !item.answer) hideResult();
  if (item.answer && (shown === null || shown === item)) show(item);
}

const waiting = () => items.filter((item) => item.isWaiting);

function tellProgress() {
  const [number, done] = [items.length, items.filter(({ answer, error }) => answer || error).length];
  const isBusy = { isBusy: true };
  if (number < 2) tell(() => say("assessing"), isBusy);
  else tell(() => say("assessing_several", { done, number }), isBusy);
}

// Ask about the images that wait, a few at a time, until none is left.
async function work() {
  while (numAsking < LANES && waiting().length) {
    const [item] = waiting();
    item.isWaiting = false;
    numAsking += 1;
    tellProgress();
    answer(item).finally(() => {
      numAsking -= 1;
      if (waiting().length) work();
      else if (numAsking === 0) finish();
      else tellProgress();
    });
  }
}

function finish() {
  if (items.length === 0) return;
  if (items.length === 1 && items[0].error) complain(items[0].error);
  else tell(() => doneWords(items));
  const first = rank(items).find((item) => item.answer);
  if (first && first !== shown && !isAttended) show(first);
  isAttended = shown !== null; // what is shown now is looked at, and stays when others come
  const refused = items.find(({ error }) => error?.status === 401);
  if (refused) complain(refused.error);
}

// Ask again about images that have an answer or an error.
function askFor(chosen) {
  for (const item of chosen) Object.assign(item, { isWaiting: true, answer: null, error: null });
  complain(null);
  draw(chosen);
  work();
}

const askAgain = (item) => askFor([item]);

function take(files) {
  const added = [...(files ?? [])].map((file) => ({ file, number: numChosen++, site: "" }));
  if (added.length === 0) return;
  const isSecond = items.length === 1;
  items = [...items, ...added];
  if (isSecond) draw([items[0]]); // one alone has no row that is seen
  askFor(added);
}

function hideResult() {
  shown = null;
  isAttended = false;
  at("result").hidden = true;
  picture.forgetPicture();
  markShown(items, shown);
}

function remove(gone) {
  items = items.filter((item) => !gone.includes(item));
  for (const { thumbnail } of gone) if (thumbnail) URL.revokeObjectURL(thumbnail);
  complain(null);
  hideResult();
  draw();
  const next = rank(items).find((item) => item.answer);
  if (next) show(next);
  if (items.length === 0) {
    asking.abort();
    asking = new AbortController();
    tell(() => say("removed"));
  } else if (numAsking === 0) finish();
  at("file").focus();
}

async function explain() {
  if (isExplaining || shown === null) return;
  const diagnosis = at("diagnosis").value;
  isExplaining = true; // a disabled button would lose the keyboard's focus
  complain(null);
  tell(() => say("computing", { diagnosis: diagnosisWords(diagnosis) }), { isBusy: true });
  try {
    await picture.showOverlay(asking.signal);
    tell(() => say("explained", { diagnosis: diagnosisWords(diagnosis) }));
  } catch (error) {
    if (error.status === 401) askForKey();
    if (error.name !== "AbortError") complain(error);
  }
  isExplaining = false;
}

function changePatient() {
  const isValid = at("age").checkValidity();
  at("age").setAttribute("aria-invalid", String(!isValid));
  if (isValid) askFor(items.filter(({ file }) => card === null || file.size <= card.max_image_bytes));
  else complain(new Refusal({ own: { key: "age_wrong", values: { value: at("age").value || "?" } } }));
}

async function submitKey(event) {
  event.preventDefault();
  complain(null);
  try {
    await logIn(at("key").value.trim());
    at("key").value = "";
    at("login").hidden = true;
    at("form").hidden = false;
    await start();
    at("file").focus();
    const refused = items.filter(({ error }) => error?.status === 401);
    if (refused.length) askFor(refused);
  } catch (error) {
    complain(error);
  }
}

// A new page: nothing of the images and answers stays.
async function leave() {
  await logOut();
  location.reload();
}

function changeLanguage(event) {
  event.preventDefault();
  speak(event.currentTarget.lang);
  history.replaceState(null, "", `?language=${currentLanguage()}`);
  markLanguage();
  if (card) showCard();
  draw(items);
  if (shown) show(shown);
  at("status").textContent = status();
  at("error").textContent = complaint ? errorWords(complaint) : "";
}

function markLanguage() {
  for (const link of document.querySelectorAll("#languages a")) {
    if (link.lang === currentLanguage()) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function showCard() {
  const facts = {
    network: say("facts.network_value", { network: card.network, side: card.image_side_px }),
    checkpoint: card.checkpoint_id,
    threshold: say("facts.threshold_value", {
      threshold: shareText(card.decision_threshold),
      target: shareText(card.target_sensitivity),
    }),
    ...(card.canary && {
      canary: say("facts.canary_value", {
        share: shareText(card.canary_fraction),
        network: card.canary.network,
        checkpoint: card.canary.checkpoint_id,
        threshold: shareText(card.canary.decision_threshold),
        target: shareText(card.canary.target_sensitivity),
      }),
    }),
    ...(card.uses_metadata && { metadata: say("facts.metadata_value") }),
    data: card.data_fingerprint.slice(0, 12),
    diagnoses: card.diagnoses.map(diagnosisWords).join(", "),
  };
  const terms = Object.entries(facts).flatMap(([name, value]) => [
    Object.assign(document.createElement("dt"), { textContent: say(`facts.${name}`) }),
    Object.assign(document.createElement("dd"), { textContent: value }),
  ]);
  at("facts").replaceChildren(...terms);
  at("synthetic").hidden = !card.is_synthetic;
  at("patient").hidden = at("site-field").hidden = !card.uses_metadata;
  at("about").hidden = false;
}

async function start() {
  const described = await describeModel();
  card = described.card;
  card.uses_metadata ||= card.canary?.uses_metadata ?? false; // whichever of the two may answer
  picture.setAspect(card);
  showCard();
  at("logout").hidden = !described.isSession;
}

function listenForImages() {
  for (const id of ["file", "camera"]) {
    at(id).addEventListener("change", (event) => {
      take(event.target.files);
      event.target.value = ""; // the same file again is a change, too
    });
  }
  for (const [type, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    document.addEventListener(type, (event) => {
      event.preventDefault(); // or the browser leaves the page to show the file
      at("drop").classList.toggle("over", isOver);
    });
  }
  document.addEventListener("drop", (event) => at("form").hidden || take(event.dataTransfer?.files));
  document.addEventListener("paste", (event) => at("form").hidden || take(event.clipboardData?.files));
}

function listen() {
  listenForImages();
  picture.listenToPicture();
  at("login").addEventListener("submit", submitKey);
  at("logout").addEventListener("click", leave);
  at("form").addEventListener("submit", (event) => event.preventDefault());
  at("age").addEventListener("change", changePatient);
  at("sex").addEventListener("change", changePatient);
  at("site").addEventListener("change", () => {
    shown.site = at("site").value;
    askAgain(shown);
  });
  at("explain").addEventListener("click", () => (picture.isOverlaid() ? picture.hideOverlay() : explain()));
  at("diagnosis").addEventListener("change", () => (picture.isOverlaid() ? explain() : picture.describePicture()));
  for (const type of ["pointerdown", "keydown"]) at("result").addEventListener(type, () => (isAttended = true));
  at("print").addEventListener("click", () => print());
  at("remove").addEventListener("click", () => remove([shown]));
  at("remove-all").addEventListener("click", () => remove(items));
  for (const link of document.querySelectorAll("#languages a")) link.addEventListener("click", changeLanguage);
  addEventListener("beforeprint", () => drawSummary(items, card, patientOf({}))); // with the time of printing
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload()); // a page that was left is gone
}

listen();
markLanguage();
try {
  await start();
} catch (error) {
  if (error.status === 401) askForKey(); // a page that has just been opened isn't told that a key is needed: it is asked
  else complain(error);
}
