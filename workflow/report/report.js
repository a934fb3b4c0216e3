// Draws the charts in the page's language, switches it, and sorts the answers.
(() => {
  const root = document.documentElement;
  const drawn = new Map();
  const tables = [...document.querySelectorAll(".scroll > table")].filter((one) => one.tHead);

  function draw(element) {
    const spec = CHARTS[element.dataset.chart][root.dataset.language];
    drawn.get(element)?.finalize();
    return vegaEmbed(element, spec, { actions: false, renderer: "svg" })
      .then((view) => drawn.set(element, view));
  }

  // Each cell gets what its column's head says, which is seen where there is no room for heads.
  function label(table) {
    const heads = [...table.tHead.rows[0].cells];
    for (const body of table.tBodies) {
      for (const row of body.rows) {
        [...row.cells].forEach((cell, place) => {
          if (!place || row.cells.length !== heads.length || !heads[place].textContent.trim()) return;
          const said = document.createElement("span");
          said.className = "label";
          said.innerHTML = heads[place].innerHTML;
          cell.prepend(said);
        });
      }
    }
  }

  // A table too wide for the page becomes a card for each row.
  function fit() {
    for (const table of tables) {
      table.classList.remove("cards");
      const room = table.parentElement;
      table.classList.toggle("cards", room.scrollWidth > room.clientWidth);
    }
  }

  function show(language) {
    root.dataset.language = language;
    root.lang = language === "zh" ? "zh-CN" : "en";
    for (const button of document.querySelectorAll("[data-choose]")) {
      button.setAttribute("aria-pressed", String(button.dataset.choose === language));
    }
    fit();
    const charts = [...document.querySelectorAll("[data-chart]")];
    root.dataset.ready = "";
    Promise.all(charts.map(draw)).then(() => { root.dataset.ready = language; });
  }

  function sort(group, variant) {
    const list = group.querySelector(".items");
    const change = (item) => {
      const changes = JSON.parse(item.dataset.changes);
      return variant ? changes[variant] : Math.min(...Object.values(changes));
    };
    const items = [...list.children].sort((a, b) => change(a) - change(b));
    items.forEach((item, place) => { list.append(item); item.open = place < 3; });
    for (const button of group.querySelectorAll("[data-sort]")) {
      button.setAttribute("aria-pressed", String(button.dataset.sort === variant));
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.choose) show(button.dataset.choose);
    if (button && "sort" in button.dataset) sort(button.closest(".sorted"), button.dataset.sort);
  });
  // What is folded away is printed too.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((item) => { item.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((item) => { item.open = false; }));
  addEventListener("resize", fit);
  document.addEventListener("toggle", fit, true);  // a table that was folded away has a width now
  tables.forEach(label);
  show(root.dataset.language);
})();
