// The page's words in the language that is chosen, from the one file that has them all (texts.json).

import { describeShare } from "./share.js";

const TEXTS = JSON.parse(document.getElementById("texts").textContent);
const PLACES = { text: "textContent", label: "ariaLabel" };
let language = document.documentElement.lang;

const find = (key) => key.split(".").reduce((found, part) => found?.[part], TEXTS[language]);

// The text of a key such as "facts.data", with {names} filled in.
export function say(key, values = {}) {
  const text = find(key);
  if (typeof text !== "string") throw new Error(`texts.json has no ${language} text ${key}`);
  const filled = text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  return filled.replaceAll(" %", "\u00a0%"); // a number and its sign stay on one line
}

// The word for a name that comes from the model or the service, such as a diagnosis; by default the name itself.
export const nameOf = (kind, name, otherwise = name) => TEXTS[language][kind]?.[name] ?? otherwise;

export const languages = () => Object.keys(TEXTS);
export const currentLanguage = () => language;
export const shareText = (share) => (language === "de" ? describeShare(share).replace(".", ",") : describeShare(share));

export function sizeText(bytes) {
  const [value, unit] = bytes < 1e6 ? [Math.ceil(bytes / 1e3), "kB"] : [(bytes / 1e6).toFixed(1), "MB"];
  return `${language === "de" ? String(value).replace(".", ",") : value} ${unit}`;
}

export function dateText(date) {
  const region = navigator.languages.find((one) => one.startsWith(language)) ?? language; // en-GB writes other dates
  return date.toLocaleString(region, { dateStyle: "long", timeStyle: "short" });
}

// Put every fixed text of the page into a language.
export function speak(chosen) {
  language = chosen;
  document.documentElement.lang = chosen;
  document.title = say("title");
  for (const [attribute, property] of Object.entries(PLACES)) {
    for (const element of document.querySelectorAll(`[data-${attribute}]`)) {
      element[property] = say(element.dataset[attribute]);
    }
  }
}
