// Choose images, send them to the service one after the other, show the answers. Neither side stores anything.

import { describeShare } from "./share.js";

const at = (id) => document.getElementById(id);
const WORDS = JSON.parse(at("decision-words").textContent); // decision → its name and its meaning
const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

let card = null; // description of the model, once it is loaded
let items = []; // of the newest choice: each a file with its answer or its error, and its row in the list
let shown = null; // the one of them whose answer is shown
let isExplaining = false;
let asking = new AbortController(); // of that choice's requests, which a newer choice ends
const addresses = new Map(); // object URLs by the id of the picture that shows them

function setPicture(id, blob) {
  if (addresses.has(id)) URL.revokeObjectURL(addresses.get(id));
  addresses.set(id, URL.createObjectURL(blob));
  at(id).src = addresses.get(id);
}

const shareOf = ({ melanoma_probability: share }) => (share === null ? "none" : describeShare(share));
const referredFor = (answer) => (answer.referred_for === "malignancy" ? "Malignancy" : "Melanoma");
const nameOf = (file) => file.name || "Pasted image";

function say(text, { isBusy = false } = {}) {
  at("status").textContent = text;
  at("status").classList.toggle("busy", isBusy);
}

function complain(error) {
  say("");
  at("error").textContent = error.message;
}

async function explainRefusal(response) {
  if (response.status === 429 || response.status === 503) {
    return `The service is busy or not ready. Try again in ${response.headers.get("Retry-After") ?? "a few"} seconds.`;
  }
  try {
    const problem = await response.json();
    return `${problem.title}: ${problem.detail}.`;
  } catch {
    return `The service answered with HTTP ${response.status} without a reason.`;
  }
}

// Have the person log in, on a service that asks for keys; what was chosen stays in the list.
function askForKey() {
  at("login").hidden = false;
  at("form").hidden = true;
  at("logout").hidden = true;
  at("key").focus();
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is it still running?");
  }
  if (response.status === 401) askForKey();
  if (!response.ok) throw new Error(await explainRefusal(response));
  return response;
}

const post = (path, file) =>
  request(path, {
    method: "POST",
    body: file,
    headers: { "Content-Type": "application/octet-stream" },
    signal: asking.signal,
  });

function addBar(list, diagnosis, share) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  const track = document.createElement("div");
  const fill = document.createElement("div");
  const number = document.createElement("span");
  name.textContent = diagnosis;
  number.textContent = describeShare(share);
  number.className = "number";
  track.className = "track";
  fill.className = "fill";
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  row.classList.toggle("is-melanoma", diagnosis === "melanoma");
  row.append(name, track, number);
  list.append(row);
}

function predictedOf({ diagnosis }, likeliest) {
  if (!diagnosis) return "";
  if (diagnosis === likeliest) return `Predicted: ${diagnosis}.`;
  return `Predicted: ${diagnosis}, if all diagnoses were equally frequent; the most probable one is ${likeliest}.`;
}

function showAnswer(answer) {
  const [title, reason] = WORDS[answer.decision];
  const sorted = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const share = answer.melanoma_probability ?? 0; // with an error there is none
  at("result").className = answer.decision;
  at("decision").textContent = title;
  at("reason").textContent = answer.error ? `There is no answer: ${answer.error}.` : reason;
  at("referred-for").textContent = referredFor(answer);
  at("melanoma").textContent = shareOf(answer);
  at("melanoma-fill").style.width = `${100 * share}%`;
  at("threshold-mark").style.left = `${100 * answer.decision_threshold}%`;
  at("threshold").textContent = `Referred from ${describeShare(answer.decision_threshold)}`;
  at("predicted").textContent = predictedOf(answer, sorted[0]?.[0]);
  at("probabilities").replaceChildren();
  for (const [diagnosis, share] of sorted) addBar(at("probabilities"), diagnosis, share);
  at("diagnosis").replaceChildren(...sorted.map(([diagnosis]) => new Option(diagnosis)));
  if ("melanoma" in answer.probabilities) at("diagnosis").value = "melanoma";
  at("synthetic").hidden = !answer.is_synthetic;
  at("result").hidden = false;
  document.body.classList.add("answered");
}

function showFile(file) {
  at("no-preview").hidden = true;
  at("preview").hidden = false;
  at("name").textContent = `${nameOf(file)}, ${size(file.size)}`;
  at("explanation").hidden = true;
  setPicture("preview", file);
}

function show(item) {
  shown = item;
  for (const other of items) other.button?.setAttribute("aria-pressed", other === item);
  showFile(item.file);
  showAnswer(item.answer);
}

// A row of the list: a button once there is an answer to show, words where there is none.
function fillRow(item) {
  const { file, answer, error, row } = item;
  const name = Object.assign(document.createElement("span"), { className: "file", textContent: nameOf(file) });
  const verdict = Object.assign(document.createElement("span"), { className: "verdict" });
  const number = Object.assign(document.createElement("span"), { className: "number" });
  const box = document.createElement(answer ? "button" : "div");
  row.className = answer ? answer.decision : error ? "failed" : "waiting";
  verdict.textContent = answer ? WORDS[answer.decision][0] : (error?.message ?? "Waiting");
  if (answer) {
    number.textContent = shareOf(answer);
    number.setAttribute("aria-label", `${referredFor(answer)} probability ${number.textContent}`);
    box.type = "button";
    box.setAttribute("aria-pressed", false);
    box.addEventListener("click", () => {
      show(item);
      at("result").scrollIntoView({ block: "nearest" });
    });
    item.button = box;
  }
  box.append(name, verdict, number);
  row.replaceChildren(box);
}

function listRows() {
  at("list").replaceChildren();
  at("images").hidden = items.length < 2;
  if (items.length < 2) return;
  for (const item of items) {
    item.row = document.createElement("li");
    fillRow(item);
    at("list").append(item.row);
  }
}

async function ask(file) {
  if (card !== null && file.size > card.max_image_bytes) {
    throw new Error(`The file is too large: ${size(file.size)}, at most ${size(card.max_image_bytes)} are allowed.`);
  }
  return (await post("/v1/predict", file)).json();
}

function summarize() {
  if (items.length === 1) {
    const [{ answer }] = items;
    const share = shareOf(answer);
    const threshold = describeShare(answer.decision_threshold);
    return `Done: ${WORDS[answer.decision][0]}. ${referredFor(answer)} probability ${share}, referred from ${threshold}.`;
  }
  const counts = Object.entries(WORDS).map(([decision, [words]]) => [
    items.filter(({ answer }) => answer?.decision === decision).length,
    words,
  ]);
  counts.push([items.filter(({ error }) => error).length, "Without an answer"]);
  const parts = counts.filter(([count]) => count).map(([count, words]) => `${count} × ${words}`);
  return `Done, ${items.length} images: ${parts.join("; ")}.`;
}

async function assess(files) {
  asking.abort();
  const { signal } = (asking = new AbortController());
  items = files.map((file) => ({ file }));
  shown = null;
  at("error").textContent = "";
  at("result").hidden = true;
  listRows();
  for (const [place, item] of items.entries()) {
    const which = items.length < 2 ? "the image" : `image ${place + 1} of ${items.length}`;
    say(`Assessing ${which} …`, { isBusy: true });
    try {
      item.answer = await ask(item.file);
    } catch (error) {
      item.error = error;
    }
    if (signal.aborted) return; // a newer choice has the page
    if (item.row) fillRow(item);
    if (item.answer && shown === null) show(item);
  }
  if (items.length === 1 && items[0].error) complain(items[0].error);
  else say(summarize());
}

async function explain() {
  if (isExplaining) return;
  const diagnosis = at("diagnosis").value;
  isExplaining = true; // a disabled button would lose the keyboard's focus
  at("error").textContent = "";
  say(`Computing the evidence for ${diagnosis} …`, { isBusy: true });
  try {
    setPicture("overlay", await (await post(`/v1/explain?diagnosis=${encodeURIComponent(diagnosis)}`, shown.file)).blob());
    at("overlay").alt = `The image as the network gets it, bright where it is evidence for ${diagnosis}`;
    at("overlay-caption").textContent =
      `Bright: evidence for ${diagnosis}. This shows where the network looked, not whether it was right.`;
    at("explanation").hidden = false;
    say(`Shown: the evidence for ${diagnosis}.`);
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  }
  isExplaining = false;
}

function take(files) {
  if (files?.length) assess([...files]);
}

async function logIn(event) {
  event.preventDefault();
  at("error").textContent = "";
  try {
    await request("/login", { method: "POST", headers: { Authorization: `Bearer ${at("key").value.trim()}` } });
    at("key").value = "";
    at("login").hidden = true;
    at("form").hidden = false;
    await start();
    at("file").focus();
  } catch (error) {
    complain(error);
  }
}

// A new page: nothing of the images and answers stays.
async function logOut() {
  await request("/logout", { method: "POST" });
  location.reload();
}

function listen() {
  const drop = at("drop");
  at("login").addEventListener("submit", logIn);
  at("logout").addEventListener("click", logOut);
  at("form").addEventListener("submit", (event) => event.preventDefault());
  at("file").addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = ""; // the same file again is a change, too
  });
  for (const [type, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    document.addEventListener(type, (event) => {
      event.preventDefault(); // or the browser leaves the page to show the file
      drop.classList.toggle("over", isOver);
    });
  }
  document.addEventListener("drop", (event) => take(event.dataTransfer?.files));
  document.addEventListener("paste", (event) => take(event.clipboardData?.files));
  at("explain").addEventListener("click", explain);
  at("preview").addEventListener("error", () => {
    at("preview").hidden = true;
    at("no-preview").hidden = false;
  });
}

function showCard() {
  const facts = {
    Network: `${card.network}, ${card.image_side_px} × ${card.image_side_px} pixels`,
    Checkpoint: card.checkpoint_id,
    Threshold: `refers from ${describeShare(card.decision_threshold)}, chosen to catch ${describeShare(card.target_sensitivity)} of the validation melanomas`,
    ...(card.uses_metadata && { Metadata: "age, sex and site of the lesion are used where a program gives them" }),
    Data: card.data_fingerprint.slice(0, 12),
    Diagnoses: card.diagnoses.join(", "),
  };
  at("facts").replaceChildren();
  for (const [name, value] of Object.entries(facts)) {
    at("facts").append(Object.assign(document.createElement("dt"), { textContent: name }));
    at("facts").append(Object.assign(document.createElement("dd"), { textContent: value }));
  }
  at("synthetic").hidden = !card.is_synthetic;
  at("about").hidden = false;
}

async function start() {
  const response = await request("/v1/model");
  card = await response.json();
  showCard();
  at("logout").hidden = !response.headers.has("X-Melanoma-Key");
}

listen();
try {
  await start();
} catch (error) {
  if (at("login").hidden) complain(error); // a page that has just been opened isn't told that a key is needed: it is asked
}
