"use strict";
(() => {
  const drawn = JSON.parse(document.getElementById("drawn").textContent);
  // Paper is white, whatever the screen is.
  const isDark = matchMedia("screen and (prefers-color-scheme: dark)");
  const PAPER = 700; // the width of a chart on paper, which shrinks or stretches it to its own
  const isNarrow = matchMedia("(max-width: 640px)");
  const isTouch = matchMedia("(pointer: coarse)");
  const hidden = new Map(); // chart -> numbers of the traces that are switched off
  const seen = new Set();

  const themed = (value) => {
    if (typeof value === "string") return (isDark.matches && drawn.palette[value]) || value;
    if (Array.isArray(value)) return value.map(themed);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item)]));
  };

  const draw = (id, width) => {
    seen.add(id);
    const figure = drawn.charts[id];
    const off = hidden.get(id) || new Set();
    const data = figure.data.map((trace, n) => ({ ...themed(trace), visible: !off.has(n) }));
    const layout = themed(figure.layout);
    const style = getComputedStyle(document.documentElement);
    layout.hoverlabel = {
      ...layout.hoverlabel,
      bgcolor: style.getPropertyValue("--raised").trim(),
      bordercolor: style.getPropertyValue("--line").trim(),
      font: { color: style.getPropertyValue("--ink").trim() },
    };
    const isTight = isNarrow.matches && !width;
    if (isTight) layout.margin = { ...layout.margin, l: 46 };
    for (const name of Object.keys(layout)) {
      if (!/^[xy]axis/.test(name)) continue;
      // A finger that moves over a chart scrolls the page.
      if (isTouch.matches) layout[name].fixedrange = true;
      if (!isTight || !name.startsWith("x")) continue;
      const { nticks, tickvals, ticktext, dtick } = layout[name];
      if (nticks) layout[name].nticks = 4;
      if (dtick) {
        // Whole days still, but not each.
        const days = figure.data.flatMap((trace) => trace.x).map((x) => Date.parse(x) / dtick);
        const count = Math.max(...days) - Math.min(...days) + 1;
        layout[name].dtick = dtick * Math.ceil(count / 4);
      }
      if (tickvals) {
        // The last is kept, and as many before it as stand apart: a date takes a fifth of a phone.
        const last = tickvals.length - 1;
        const kept = (_, n) => (last - n) % Math.ceil(tickvals.length / 3) === 0;
        layout[name].tickvals = tickvals.filter(kept);
        if (ticktext) layout[name].ticktext = ticktext.filter(kept);
      }
    }
    if (isTouch.matches) layout.dragmode = false;
    if (width) {
      layout.width = width;
      layout.autosize = false;
    }
    Plotly.react(id, data, layout, { displayModeBar: false, responsive: true, showTips: false });
  };

  // Of a report on many symbols only what comes into sight is drawn.
  const plots = [...document.querySelectorAll(".plot")];
  for (const plot of plots) plot.style.minHeight = `${plot.dataset.height}px`;
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        watcher.unobserve(entry.target);
        draw(entry.target.id);
      }
    },
    { rootMargin: "600px" }
  );
  plots.forEach((plot) => watcher.observe(plot));
  const again = () => seen.forEach((id) => draw(id));
  isDark.addEventListener("change", again);
  isNarrow.addEventListener("change", again);
  // On paper all is drawn, at a width of its own, as pictures that the style fits to the paper; and
  // all years of the calendars are open.
  const shut = [];
  addEventListener("beforeprint", () => {
    shut.splice(0, shut.length, ...document.querySelectorAll("details.year:not([open])"));
    for (const year of shut) year.open = true;
    for (const plot of plots) {
      draw(plot.id, PAPER);
      for (const picture of plot.querySelectorAll(".main-svg")) {
        const size = `${picture.getAttribute("width")} ${picture.getAttribute("height")}`;
        picture.setAttribute("viewBox", `0 0 ${size}`);
      }
    }
  });
  addEventListener("afterprint", () => {
    for (const year of shut) year.open = false;
    for (const plot of plots) {
      for (const picture of plot.querySelectorAll(".main-svg")) picture.removeAttribute("viewBox");
      draw(plot.id);
    }
  });

  // Legends: a checkbox for each trace, so that the keyboard can switch it too.
  const swatch = (trace) => {
    const marks = {
      circle: "●", "x-thin": "×", "triangle-up": "▲", square: "■", diamond: "◆",
      "cross-thin": "+", star: "★", "star-triangle-down-open": "▽", "circle-open": "○",
    };
    const mark = document.createElement("span");
    mark.className = "swatch";
    mark.setAttribute("aria-hidden", "true");
    const isLine = trace.mode === "lines";
    mark.textContent = isLine ? (trace.line.dash === "dash" ? "╌╌" : "──") : marks[trace.marker.symbol];
    const colour = (isLine ? trace.line : trace.marker).color;
    const paint = () => { mark.style.color = themed(colour); };
    paint();
    isDark.addEventListener("change", paint);
    return mark;
  };
  for (const legend of document.querySelectorAll("[data-legend]")) {
    const id = legend.dataset.legend;
    const { data } = drawn.charts[id];
    if (data.length < 2 || data.some((trace) => trace.type !== "scatter")) continue;
    const group = document.createElement("fieldset");
    const title = document.createElement("legend");
    title.className = "hidden";
    title.textContent = `Shown in: ${document.getElementById(`${id}-title`).textContent}`;
    group.append(title);
    data.forEach((trace, n) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        const off = hidden.get(id) || new Set();
        if (box.checked) off.delete(n);
        else off.add(n);
        hidden.set(id, off);
        draw(id);
      });
      label.append(box, swatch(trace), trace.name);
      group.append(label);
    });
    legend.append(group);
  }

  // Tables are made when they are opened.
  const cell = (value) => {
    const made = document.createElement("td");
    if (value === null) {
      made.textContent = "–";
      made.className = "null";
    } else if (typeof value === "number") {
      made.textContent = value.toLocaleString("en-US", { maximumFractionDigits: 6 });
      made.className = "number";
    } else {
      const text = document.createElement("bdi");
      text.textContent = value === true ? "yes" : value === false ? "no" : value;
      if (text.textContent.length > 40) made.className = "long";
      made.append(text);
    }
    return made;
  };
  const tabulate = (details) => {
    const place = details.querySelector(".scroll");
    const source = drawn.tables[details.dataset.of];
    if (!source || place.firstChild) return;
    const table = document.createElement("table");
    const caption = table.createCaption();
    caption.textContent = place.getAttribute("aria-label");
    const head = table.createTHead().insertRow();
    for (const name of source.columns) {
      const th = document.createElement("th");
      th.scope = "col";
      th.textContent = name;
      head.append(th);
    }
    const body = table.createTBody();
    for (const row of source.rows) body.insertRow().append(...row.map(cell));
    place.append(table);
  };
  for (const details of document.querySelectorAll("details[data-of]")) {
    details.addEventListener("toggle", () => details.open && tabulate(details));
  }

  // Calendars: one stop of Tab each, arrow keys within, across the months of a data type.
  for (const calendar of document.querySelectorAll(".calendar")) {
    const readout = calendar.querySelector(".readout");
    const tables = [...calendar.querySelectorAll("table.month")];
    const say = (text) => { readout.textContent = text; };
    let stop = null;
    const choose = (day, move) => {
      if (stop) stop.tabIndex = -1;
      stop = day;
      day.tabIndex = 0;
      if (move) day.focus();
    };
    const days = tables.flatMap((table) => [...table.querySelectorAll("td.d")]);
    const open = () => days.filter((day) => day.offsetParent !== null);
    const first = open()[0];
    if (first) choose(first, false);
    calendar.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 7, ArrowUp: -7 };
      const within = open();
      const at = within.indexOf(event.target);
      if (at < 0) return;
      let to = null;
      if (event.key in steps) to = at + steps[event.key];
      else if (event.key === "Home") to = 0;
      else if (event.key === "End") to = within.length - 1;
      if (to === null) return;
      event.preventDefault();
      choose(within[Math.max(0, Math.min(within.length - 1, to))], true);
    });
    const told = (event) => {
      const day = event.target.closest("td.d");
      if (day) say(day.title);
    };
    calendar.addEventListener("focusin", told);
    calendar.addEventListener("mouseover", told);
    calendar.addEventListener("click", (event) => {
      const day = event.target.closest("td.d");
      if (day) choose(day, true);
    });
    calendar.addEventListener("toggle", () => {
      if (stop && stop.offsetParent === null && open()[0]) choose(open()[0], false);
    }, true);
  }
})();
