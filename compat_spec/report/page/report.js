// Draws the charts: to the width that there is, in the colours of the page.
(() => {
  "use strict";
  const { charts, themes } = JSON.parse(document.getElementById("report-data").textContent);
  const SVG_MARKS = 2500; // of more, a canvas is quicker
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const choices = ["auto", "light", "dark"];
  const words = { auto: "as the system has them", light: "light", dark: "dark" };
  let choice = "auto";
  let printing = false;

  const coloured = () => { // paper is light
    const wanted = printing ? "light" : choice;
    if (wanted === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = wanted;
  };
  const isDark = () => !printing && (choice === "dark" || (choice === "auto" && dark.matches));

  // Vega-Lite fits single views into a container; panels and stacks of views are fitted here.
  function fitted(spec, width) {
    const copy = { ...spec };
    const own = (view) => (view.layer ? { ...view, width, layer: view.layer.map((part) => ({ ...part, ...(part.width ? { width } : {}) })) } : { ...view, width });
    if (copy.facet) {
      const panel = copy.spec.width ?? copy.spec.layer[0].width;
      copy.columns = Math.max(1, Math.min(copy.columns ?? 3, Math.floor((width - 50) / (panel + 18))));
    } else if (copy.vconcat) {
      const inner = Math.max(200, width - 75);
      copy.vconcat = copy.vconcat.map((view) => ({
        ...view, ...(view.width ? { width: inner } : {}),
        layer: view.layer?.map((part) => ({ ...part, ...(part.width ? { width: inner } : {}), layer: part.layer?.map((leaf) => ({ ...leaf, ...(leaf.width ? { width: inner } : {}) })) })),
      }));
    } else if (copy.width < 400) { // a map, which has a size of its own
      copy.width = Math.min(copy.width, width - 60);
    } else {
      Object.assign(copy, own(copy), { autosize: { type: "fit-x", contains: "padding" } });
    }
    return copy;
  }

  const drawnAs = new Map();
  async function draw(element, slack = 0, tries = 3) {
    const { spec, marks } = charts[element.dataset.chart];
    const room = Math.floor(element.clientWidth) - 2;
    const width = room - slack;
    const key = `${width} ${isDark()}`;
    if (width < 50 || drawnAs.get(element)?.key === key) return;
    drawnAs.get(element)?.finalize?.();
    drawnAs.set(element, { key });
    const config = structuredClone(themes[isDark() ? "dark" : "light"]);
    config.legend.columns = Math.max(1, Math.floor((width - 60) / 180));
    if (width < 520) {
      config.axis.labelLimit = 130;
      config.axisQuantitative.tickCount = 4;
    }
    const { finalize } = await window.vegaEmbed(element, fitted(spec, width), {
      mode: "vega-lite", ast: true, config, renderer: marks > SVG_MARKS ? "canvas" : "svg",
      tooltip: { theme: isDark() ? "dark" : "light" },
      actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
      downloadFileName: element.dataset.chart,
    });
    drawnAs.set(element, { key: `${room} ${isDark()}`, finalize });
    const over = Math.ceil(element.querySelector("svg.marks, canvas.marks")?.getBoundingClientRect().width ?? 0) - room;
    if (over > 0 && tries > 1) return draw(element, slack + over + 2, tries - 1); // names beside an axis took more than was thought
    element.dataset.drawn = isDark() ? "dark" : "light";
  }

  const elements = [...document.querySelectorAll("[data-chart]")];
  const failed = (element) => (error) => { element.textContent = "This chart could not be drawn; its data is below."; console.error(error); };
  const redraw = () => Promise.all(elements.filter((element) => seen.has(element)).map((element) => draw(element).catch(failed(element))));

  // A chart is drawn when it comes near: pages with many charts open at once.
  const seen = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !seen.has(target)) {
        seen.add(target);
        draw(target).catch(failed(target));
      }
    }
  }, { rootMargin: "600px" });
  elements.forEach((element) => watcher.observe(element));

  // The others follow when there is nothing else to do, so that printing and searching find them.
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
  const drawNext = () => {
    const next = elements.find((element) => !seen.has(element));
    if (!next) return;
    seen.add(next);
    draw(next).catch(failed(next)).finally(() => idle(drawNext));
  };
  idle(drawNext);

  let waiting;
  let known = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === known) return; // phones hide and show their bars
    known = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 150);
  });
  dark.addEventListener("change", redraw);
  const print = (now) => {
    printing = now;
    coloured();
    redraw();
  };
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));

  button.hidden = false;
  button.addEventListener("click", () => {
    choice = choices[(choices.indexOf(choice) + 1) % choices.length];
    coloured();
    button.querySelector("span").textContent = choice;
    button.setAttribute("aria-label", `Colours: ${words[choice]}`);
    redraw();
  });
})();
