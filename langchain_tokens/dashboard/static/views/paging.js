// How does a long list go on? All that is shown is asked for at once, so that no row is missing or there twice.
import { h } from "../dom.js";
import { count } from "../format.js";

const PAGE = 50;
const MOST = 1_000;

/** How many rows to ask for after so many clicks. */
export function pages(extra) {
  return Math.min(MOST, PAGE * (1 + extra));
}

/** What stands below a list that goes no further. */
export function end_of_list() {
  return h("p", { class: "hint", hidden: true }, `The first ${count(MOST)}. Filters find the others; an export has all.`);
}

/** Offer more, where there is more; `next` is there where a page follows. */
export function more_of(button, end, rows, next) {
  button.hidden = !next || rows >= MOST;
  end.hidden = !next || rows < MOST;
}
