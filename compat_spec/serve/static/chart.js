// Draws the rows of a canned query as its chart says. The rows are asked for once more, as JSON, with the same parameters.
(async () => {
  "use strict";
  const figure = document.getElementById("chart");
  try {
    const { spec, config } = JSON.parse(document.getElementById("chart-data").textContent);
    const address = new URL(window.location.href);
    address.pathname += ".json";
    address.searchParams.set("_shape", "objects");
    const answer = await fetch(address);
    const { rows: values, truncated, error } = await answer.json();
    if (!answer.ok) throw new Error(error);
    for (const [column, name] of Object.entries(spec.usermeta?.rename ?? {})) {
      for (const row of values) {
        row[name] = row[column];
        delete row[column];
      }
    }
    await window.vegaEmbed(figure, { ...spec, data: { values } }, {
      mode: "vega-lite", ast: true, renderer: "svg", config, logLevel: 1,
      actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
    });
    if (truncated) {
      const note = document.createElement("figcaption");
      note.textContent = `Only the first ${values.length} rows are drawn: choose a task, or ask for less by a SELECT of your own.`;
      figure.before(note);
    }
    figure.dataset.drawn = "yes";
  } catch (error) {
    figure.textContent = "The chart could not be drawn; its rows are below.";
    console.error(error);
  }
})();
