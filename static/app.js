// Keydesk's own script: copying, saving, dialogs, times. Everything works without it too.
"use strict";
document.documentElement.classList.add("js");

const say = (text) => { document.getElementById("live").textContent = text; };

// ---- Copy buttons: data-copy names the element to copy from.
async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    button.classList.add("copied");
    label.textContent = "Copied";
    say("Copied");
    setTimeout(() => { label.textContent = "Copy"; button.classList.remove("copied"); }, 2000);
  } catch {
    // The clipboard is available only on https and localhost.
    if (source.select) source.select(); else getSelection().selectAllChildren(source);
    say("Press Ctrl+C to copy");
    label.textContent = "Press Ctrl+C";
  }
}

// ---- The reveal page: the file is created here, so that the secret is not sent again.
function saveEnv(button) {
  const secret = document.querySelector("[data-secret]").value;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${button.dataset.env}=${secret}\n`], { type: "text/plain" }));
  link.download = ".env";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say("Downloaded .env");
}

let saved = false;
const secrets = () => document.querySelectorAll("[data-secret]");
function wipe() {
  for (const element of secrets()) { element.value = ""; element.textContent = ""; }
}
addEventListener("beforeunload", (event) => {
  const tick = document.querySelector("[data-saved]");
  if (secrets().length && !saved && !(tick && tick.checked)) event.preventDefault();
});
addEventListener("pagehide", wipe);
addEventListener("pageshow", (event) => {
  if (event.persisted) wipe();
  for (const button of document.querySelectorAll("[data-busy][aria-busy]")) {
    button.removeAttribute("aria-busy");
    button.textContent = button.dataset.label;
  }
});

// ---- Dialogs: a link fetches its page's main block into #dialog.
let opener = null;
document.addEventListener("htmx:after:swap", () => {
  const dialog = document.getElementById("dialog");
  if (dialog && dialog.childElementCount && !dialog.open) {
    dialog.showModal();
    dialog.querySelector("h1, h2, [autofocus]")?.focus();
  } else if (dialog?.open) {
    dialog.querySelector("[data-focus]")?.focus();
  }
});
function closeDialog() {
  const dialog = document.getElementById("dialog");
  if (dialog?.open) dialog.close();
}
document.addEventListener("close", (event) => {
  if (event.target.id !== "dialog") return;
  event.target.replaceChildren();
  opener?.focus();
}, true);

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-env], [data-dialog], [data-close]");
  if (target?.dataset.copy) copy(target);
  else if (target?.dataset.env) saveEnv(target);
  else if (target?.hasAttribute("data-dialog")) opener = target;
  else if (target?.hasAttribute("data-close") && target.closest("dialog")) { event.preventDefault(); closeDialog(); }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});

// ---- Forms.
document.addEventListener("submit", (event) => {
  if (event.target.querySelector("[data-saved]")) saved = true;
  const button = event.submitter;
  if (!button?.dataset.busy || event.defaultPrevented) return;
  button.dataset.label = button.textContent;
  button.style.minInlineSize = `${button.offsetWidth}px`;
  button.textContent = button.dataset.busy;
  button.setAttribute("aria-busy", "true");
});

// ---- The summary of a new key.
function summarise(form) {
  const place = document.querySelector("[data-summary]");
  const name = form.elements.name.value.trim();
  const phrases = [...form.querySelectorAll("[name=scopes]:checked")].map((box) => box.dataset.phrase);
  place.replaceChildren();
  if (!name || !phrases.length) {
    place.append("Choose a name and at least one scope to see what the key can do.");
    return;
  }
  const bold = (text) => { const element = document.createElement("strong"); element.textContent = text; return element; };
  const list = phrases.length > 1 ? `${phrases.slice(0, -1).join(", ")} and ${phrases.at(-1)}` : phrases[0];
  const chosen = form.querySelector("[name=expires]:checked");
  const day = chosen?.value === "custom" ? form.elements.expires_on.value : chosen?.dataset.until;
  const until = chosen?.value === "never" ? [bold("indefinitely")] : ["until ", bold(day || "the day you choose")];
  const limit = Number(form.elements.requests_per_minute.value || 0).toLocaleString("en");
  const values = { name: bold(name), acts: list, until, limit };
  // Every second part of the sentence is the name of a placeholder.
  place.append(...place.dataset.summary.split(/[{}]/).flatMap((part, index) => (index % 2 ? values[part] : part)));
}

// ---- Relative times, kept up to date.
function ago(seconds) {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86400);
  return days > 30 ? null : days === 1 ? "1 day ago" : `${days} days ago`;
}
setInterval(() => {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const text = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (text) time.textContent = text;
  }
}, 60000);

document.addEventListener("DOMContentLoaded", () => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const field of document.querySelectorAll("[data-zone]")) field.value ||= zone;
  document.querySelector("[data-focus]")?.focus();
  // On a phone, the current tab may be off screen.
  document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  const form = document.querySelector("form[data-summarised]");
  if (form) { summarise(form); form.addEventListener("input", () => summarise(form)); }
});
