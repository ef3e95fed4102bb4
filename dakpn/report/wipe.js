// Lets a reader wipe the translated picture back to the original. Without scripts the page only lacks this.
for (const card of document.querySelectorAll("[data-wipe]")) {
  const before = card.querySelector("[data-before]");
  const stage = card.querySelector("[data-after]");
  const slider = card.querySelector("input[type=range]");
  const cover = before.cloneNode();
  cover.removeAttribute("data-before");
  cover.className = "cover";
  cover.alt = "";
  stage.append(cover);
  slider.closest("label").hidden = false;
  const wipe = () => stage.style.setProperty("--cut", slider.value + "%");
  slider.addEventListener("input", wipe);
  stage.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || event.buttons !== 1) return;
    const box = stage.getBoundingClientRect();
    slider.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    wipe();
  });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  wipe();
}
