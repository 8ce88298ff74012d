report.page("experts", (data, root) => {
  for (const [id, {steps, maps, layers, experts, levels}] of Object.entries(data)) {
    const element = document.getElementById(id);
    const card = element.closest(".card"), title = card.querySelector("h3");
    if (steps.length < 2) continue;
    const slider = Object.assign(document.createElement("input"), {type: "range", min: 0, max: steps.length - 1, value: steps.length - 1});
    slider.setAttribute("aria-label", "step");
    card.insertBefore(slider, element.nextSibling);
    slider.oninput = () => {
      const bytes = Uint8Array.from(atob(maps[slider.value]), letter => letter.charCodeAt(0));
      const z = Array.from({length: layers}, (_, layer) => Array.from(bytes.subarray(layer * experts, (layer + 1) * experts), one => one / levels));
      title.textContent = `Load of each expert, step ${steps[slider.value]}`;
      report.change(element, figure => { figure.data[0].z = z; });
    };
  }
});
