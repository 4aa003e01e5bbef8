// One image at a time: choose, ask the service, show the answer. Nothing is kept, here or there.

const at = (id) => document.getElementById(id);
const WORDS = JSON.parse(at("decision-words").textContent); // decision → its name and its meaning
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

let card = null; // of the model, once it is known
let chosen = null; // the file shown
let isExplaining = false;
let asking = new AbortController(); // of that file: a newer one ends its requests
const addresses = new Map(); // object URLs by the id of the picture that shows them

function setPicture(id, blob) {
  if (addresses.has(id)) URL.revokeObjectURL(addresses.get(id));
  addresses.set(id, URL.createObjectURL(blob));
  at(id).src = addresses.get(id);
}

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
    return `The service answered with HTTP ${response.status} and no explanation.`;
  }
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is it still running?");
  }
  if (!response.ok) throw new Error(await explainRefusal(response));
  return response;
}

const post = (path) =>
  request(path, {
    method: "POST",
    body: chosen,
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
  number.textContent = percent(share);
  number.className = "number";
  track.className = "track";
  fill.className = "fill";
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  row.classList.toggle("is-melanoma", diagnosis === "melanoma");
  row.append(name, track, number);
  list.append(row);
}

function showAnswer(answer) {
  const [title, reason] = WORDS[answer.decision];
  const sorted = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  at("result").className = answer.decision;
  at("decision").textContent = title;
  at("reason").textContent = reason;
  at("melanoma").textContent = percent(answer.melanoma_probability);
  at("melanoma-fill").style.width = `${100 * answer.melanoma_probability}%`;
  at("threshold-mark").style.left = `${100 * answer.decision_threshold}%`;
  at("threshold").textContent = `Referred from ${percent(answer.decision_threshold)}`;
  at("probabilities").replaceChildren();
  for (const [diagnosis, share] of sorted) addBar(at("probabilities"), diagnosis, share);
  at("diagnosis").replaceChildren(...sorted.map(([diagnosis]) => new Option(diagnosis)));
  if ("melanoma" in answer.probabilities) at("diagnosis").value = "melanoma";
  at("synthetic").hidden = !answer.is_synthetic;
  at("result").hidden = false;
  document.body.classList.add("answered");
  const share = percent(answer.melanoma_probability);
  say(`Done: ${title}. Melanoma probability ${share}, referred from ${percent(answer.decision_threshold)}.`);
}

function showFile(file) {
  at("no-preview").hidden = true;
  at("preview").hidden = false;
  at("name").textContent = `${file.name || "Pasted image"}, ${size(file.size)}`;
  at("explanation").hidden = true;
  setPicture("preview", file);
}

async function assess(file) {
  asking.abort();
  asking = new AbortController();
  chosen = file;
  at("error").textContent = "";
  at("result").hidden = true;
  say("The network is looking at the image …", { isBusy: true });
  try {
    if (card !== null && file.size > card.max_image_bytes) {
      throw new Error(`The file is too large: ${size(file.size)}, at most ${size(card.max_image_bytes)} are allowed.`);
    }
    const answer = await (await post("/v1/predict")).json();
    showFile(file);
    showAnswer(answer);
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  }
}

async function explain() {
  if (isExplaining) return;
  const diagnosis = at("diagnosis").value;
  isExplaining = true; // a disabled button would lose the keyboard's focus
  at("error").textContent = "";
  say(`Looking for what speaks for ${diagnosis} …`, { isBusy: true });
  try {
    setPicture("overlay", await (await post(`/v1/explain?diagnosis=${encodeURIComponent(diagnosis)}`)).blob());
    at("overlay").alt = `The part the network sees, bright where it speaks for ${diagnosis}`;
    at("overlay-caption").textContent =
      `Bright: speaks for ${diagnosis}. It shows where the network looked, not whether it was right.`;
    at("explanation").hidden = false;
    say(`Shown: what speaks for ${diagnosis}.`);
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  }
  isExplaining = false;
}

function take(files) {
  const file = files?.[0];
  if (file) assess(file);
}

function listen() {
  const drop = at("drop");
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
    Threshold: `refers from ${percent(card.decision_threshold)}, chosen to catch ${percent(card.target_sensitivity)} of the validation melanomas`,
    ...(card.uses_metadata && { Metadata: "age, sex and site of the lesion have a say where a program gives them" }),
    Data: card.data_fingerprint.slice(0, 12),
    Diagnoses: card.diagnoses.join(", "),
  };
  for (const [name, value] of Object.entries(facts)) {
    at("facts").append(Object.assign(document.createElement("dt"), { textContent: name }));
    at("facts").append(Object.assign(document.createElement("dd"), { textContent: value }));
  }
  at("synthetic").hidden = !card.is_synthetic;
  at("about").hidden = false;
}

listen();
try {
  card = await (await request("/v1/model")).json();
  showCard();
} catch (error) {
  complain(error);
}
