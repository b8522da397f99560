// What models and tools write is text: signs that hide or turn the direction of others are shown as
// escapes, http addresses are links, nothing is markup.
const HIDDEN = /\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const LINK = /https?:\/\/[^\s<>"'`\\{}|^]+[^\s<>"'`\\{}|^.,;:!?)\]]/g;

function escape(sign) {
  const code = sign.codePointAt(0);
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

export const visible = (text) => String(text).replace(HIDDEN, escape);

export function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = visible(text);
  return made;
}

// Makes links of the addresses in an element's text, once the text is whole.
export function link(element) {
  const text = element.textContent;
  const pieces = [];
  let at = 0;
  for (const found of text.matchAll(LINK)) {
    pieces.push(text.slice(at, found.index));
    const made = make("a", "", found[0]);
    made.href = found[0];
    made.rel = "noopener noreferrer nofollow";
    made.target = "_blank";
    pieces.push(made);
    at = found.index + found[0].length;
  }
  if (pieces.length) element.replaceChildren(...pieces, text.slice(at));
}

export function code(value, limit = 600) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const whole = make("pre", "code", text);
  whole.tabIndex = 0;
  if (text.length <= limit) return whole;
  const details = make("details", "long");
  const summary = make("summary");
  summary.append(make("pre", "code cut", `${text.slice(0, 200)} …`), make("span", "more", `Show all ${text.length} characters`));
  details.append(summary, whole);
  return details;
}
