const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  tool: "M12.8 4a3.8 3.8 0 0 0-4.6 4.9L3.8 13.3l2.9 2.9 4.4-4.4A3.8 3.8 0 0 0 16 7.2l-2.3 2.3-2.4-.8-.8-2.4z",
};

export function icon(name) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("class", "icon");
  made.setAttribute("viewBox", "0 0 20 20");
  made.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  made.append(path);
  return made;
}
