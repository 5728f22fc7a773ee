"use strict";
(() => {
  const element = (id) => document.getElementById(id);

  const rows = [...element("board").tBodies[0].rows];
  element("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.cells[1].textContent.toLowerCase().includes(wanted);
    const left = rows.filter((row) => !row.hidden).length;
    element("filter-state").textContent = wanted ? `${left} of ${rows.length}` : "";
  });

  element("metrics").addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    for (const button of element("metrics").querySelectorAll("button")) {
      const on = button === chosen;
      button.setAttribute("aria-pressed", String(on));
      element(`boxes-${button.dataset.metric}`).hidden = !on;
    }
  });

  const data = JSON.parse(element("comparison").textContent);
  const fill = (select, names, chosen) => {
    names.forEach((name, index) => select.append(new Option(name, index, false, index === chosen)));
    select.addEventListener("change", draw);
  };
  const shape = (name, values, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const short = (name) => (name.length > 36 ? `${name.slice(0, 35)}\u2026` : name);
  const ticks = (low, high) => {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
    const found = [];
    for (let index = Math.ceil(low / step); index * step <= high; index += 1) found.push(Number((index * step).toPrecision(10)));
    return found;
  };
  function draw() {
    const svg = element("scatter");
    const metric = data.metrics[element("metric").value];
    const [first, second] = [Number(element("first").value), Number(element("second").value)];
    svg.replaceChildren();
    if (!metric) return;
    const points = data.cases
      .map((name, index) => ({ name, x: metric.values[first][index], y: metric.values[second][index] }))
      .filter((point) => point.x !== null && point.y !== null);
    const says = element("scatter-says");
    if (points.length === 0) { says.textContent = "No case has a value of both."; return; }
    const all = points.flatMap((point) => [point.x, point.y]);
    const margin = (Math.max(...all) - Math.min(...all)) * 0.05 || Math.abs(all[0]) * 0.05 || 1;
    const [low, high] = [Math.min(...all) - margin, Math.max(...all) + margin];
    const [left, right, top, bottom] = [64, 510, 10, 384];
    const x = (value) => left + ((value - low) / (high - low)) * (right - left);
    const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
    for (const tick of ticks(low, high)) {
      svg.append(
        shape("path", { class: "grid", d: `M${x(tick)} ${top}V${bottom}M${left} ${y(tick)}H${right}` }),
        shape("text", { x: x(tick), y: bottom + 17, "text-anchor": "middle" }, tick),
        shape("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, tick),
      );
    }
    svg.append(
      shape("path", { class: "equal", d: `M${left} ${bottom}L${right} ${top}` }),
      shape("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` }),
      shape("text", { x: (left + right) / 2, y: 426, "text-anchor": "middle" }, short(data.entries[first])),
      shape("text", { transform: `translate(13 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, short(data.entries[second])),
    );
    for (const point of points) {
      const dot = shape("circle", { cx: x(point.x), cy: y(point.y), r: 5 });
      dot.append(shape("title", {}, `${point.name}: ${point.x} across, ${point.y} up`));
      svg.append(dot);
    }
    const better = points.filter((point) => (metric.higher ? point.y > point.x : point.y < point.x)).length;
    says.textContent = `${metric.label}: ${data.entries[second]} is better in ${better} of ${points.length} cases ` +
      `(dots ${metric.higher ? "above" : "below"} the line).`;
  }
  fill(element("first"), data.entries, 0);
  fill(element("second"), data.entries, Math.min(1, data.entries.length - 1));
  fill(element("metric"), data.metrics.map((metric) => metric.label), 0);
  draw();
})();
