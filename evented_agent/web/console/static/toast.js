// One line at the bottom of the page that says what came of something.
let timer = 0;

export function toast(said, isBad = false) {
  const at = document.getElementById("toast");
  clearTimeout(timer);
  at.textContent = said;
  at.classList.toggle("bad", isBad);
  at.hidden = false;
  timer = setTimeout(() => { at.hidden = true; }, isBad ? 9000 : 4000);
}
