// Every e-mail as its recipient sees it, from the HTML that the test suite writes to target/mails.
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import path from "node:path";
import { closeBrowser, openBrowser } from "./support.mjs";

after(closeBrowser);

const folder = fileURLToPath(new URL("../../target/mails", import.meta.url));
const screenshots = fileURLToPath(new URL("../../target/screenshots", import.meta.url));

test("every e-mail fits and is legible, light and dark, wide and narrow", async () => {
  const files = (await readdir(folder)).filter((file) => file.endsWith(".html"));
  assert.ok(files.length >= 10, "run the suite first: it writes the mails");
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 375, 320]) {
      const context = await (await openBrowser()).newContext({ viewport: { width, height: 800 }, colorScheme });
      const page = await context.newPage();
      for (const file of files) {
        await page.goto(pathToFileURL(path.join(folder, file)).href);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wider <= 0, `${file} is ${wider} px too wide at ${width}`);
        const contrasts = await page.evaluate(faint);
        assert.deepEqual(contrasts, [], `${file} ${colorScheme} ${width}`);
        await page.screenshot({ path: path.join(screenshots, `mail-${path.parse(file).name}-${colorScheme}-${width}.png`), fullPage: true });
      }
      await context.close();
    }
  }
});

/** Texts whose contrast with their ground is under 4.5 (WCAG 2.2, 1.4.3). */
function faint() {
  const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [lr, lg, lb] = [r, g, b].map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * lr + 0.7152 * lg + 0.0722 * lb;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility() || element.offsetHeight === 0) continue;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${node.textContent.trim()}`);
  }
  return found;
}
