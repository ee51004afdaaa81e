// Pages that fail the test on errors that a person would not see.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { password, person } from "../support.mjs";

export { person, startKeydesk } from "../support.mjs";

const axeSource = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const screenshots = fileURLToPath(new URL("../../target/screenshots", import.meta.url));

let browser;
export async function openBrowser() {
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
  browser ??= await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [...quiet, "--disable-component-update", "--disable-sync"],
  });
  return browser;
}
export async function closeBrowser() {
  await browser?.close();
  browser = undefined;
}

/** A page that records everything that must not happen; it may open the origins in `foreign`. */
export async function openPage(keydesk, { foreign = [], ...options } = {}) {
  const context = await (await openBrowser()).newContext({
    viewport: { width: 1280, height: 860 },
    permissions: ["clipboard-read", "clipboard-write"],
    timezoneId: "Europe/Berlin",
    // Animations would disturb screenshots.
    reducedMotion: "reduce",
    ...options,
  });
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => {
    // A refused form gets a 4xx response, which Chromium reports as an error.
    const expected = /Failed to load resource: the server responded with a status of 4\d\d/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !expected) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("request", (request) => {
    const url = request.url();
    const expected = [keydesk.base, "blob:", "data:", ...foreign].some((origin) => url.startsWith(origin));
    if (!expected) faults.push(`foreign request: ${url}`);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  page.faults = faults;
  return page;
}

export async function closePage(page) {
  assert.deepEqual(page.faults, []);
  await page.context().close();
}

export async function signIn(page, keydesk) {
  await page.goto(`${keydesk.base}/sign-in`);
  await page.getByLabel("E-mail").fill(person.email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/\/keys$/);
}

/** Looks at the page as it stands: accessible, nothing cut off, no sideways scroll; takes its picture. */
export async function inspect(page, name) {
  const theme = (await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches)) ? "dark" : "light";
  const { width } = page.viewportSize();
  await mkdir(screenshots, { recursive: true });
  await page.screenshot({ path: path.join(screenshots, `${name}-${theme}-${width}.png`), fullPage: true });
  const where = `${name}, ${theme}, ${width} px`;
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axeSource);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const result = await page.evaluate((values) => window.axe.run(document, { runOnly: { type: "tag", values } }), tags);
  const findings = result.violations.map((found) => `${found.id}: ${found.nodes.map((node) => node.html).join(" | ")}`);
  assert.deepEqual(findings, [], where);
  assert.deepEqual(await page.evaluate(cutOff), [], where);
}

/** A mail as its reader sees it, on a wide and a narrow screen. */
export async function pictureOfMail(mail, name, colorScheme) {
  await mkdir(screenshots, { recursive: true });
  for (const width of [1280, 375]) {
    const context = await (await openBrowser()).newContext({ viewport: { width, height: 800 }, colorScheme });
    const page = await context.newPage();
    await page.setContent(mail.html);
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, `${name} fits into ${width} px`);
    await page.screenshot({ path: path.join(screenshots, `${name}-${colorScheme}-${width}.png`), fullPage: true });
    await context.close();
  }
}

/** What sticks out of the page or of an element that hides what sticks out. */
function cutOff() {
  const found = [];
  const root = document.scrollingElement;
  if (root.scrollWidth > root.clientWidth) found.push(`sideways scroll: ${root.scrollWidth} > ${root.clientWidth}`);
  const seen = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(".visually-hidden, svg, .segments, .tabs");
  for (const element of document.querySelectorAll("body *")) {
    if (!seen(element)) continue;
    const box = element.getBoundingClientRect();
    // Regions that scroll, also by keyboard, clip nothing.
    if (!box.width || element.matches(".skip, .scroll[role=region][tabindex='0'] *")) continue;
    const clip = element.parentElement.closest(".panel, .options, .code, dialog, main");
    const bounds = clip?.getBoundingClientRect();
    if (bounds && (box.right > bounds.right + 1 || box.left < bounds.left - 1)) found.push(`cut off: ${element.outerHTML.slice(0, 120)}`);
  }
  for (const area of document.querySelectorAll("[data-secret]")) {
    if (area.scrollHeight > area.clientHeight + 1) found.push(`the secret is cut off: ${area.scrollHeight} > ${area.clientHeight}`);
  }
  return found;
}
