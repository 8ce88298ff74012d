report.page("time", (data, root) => {
  for (const [id, {first, stretches}] of Object.entries(data)) {
    if (stretches.length < 2) continue;
    const card = document.getElementById(id).closest(".card");
    const label = Object.assign(document.createElement("label"), {className: "picker", textContent: "recorded steps "});
    const choice = document.createElement("select");
    for (const {key, name} of stretches) choice.append(new Option(name, key));
    choice.selectedIndex = first;
    label.append(choice);
    card.querySelector("h3").after(label);
    choice.onchange = async () => {
      for (const {id, title, height, figure} of await report.more("time", choice.value)) {
        const element = document.getElementById(id);
        element.style.height = `${height}px`;
        element.closest(".card").querySelector("h3").textContent = title;
        element.draw = () => {};
        report.chart(element, figure);
      }
    };
  }
});
