"use strict";
// Values on hover, series on and off, downloads, and the replay of trials. All text is set as text, never as HTML.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const make = (tag, parent, text, name) => {
    const one = document.createElement(tag);
    if (text !== undefined) one.textContent = text;
    if (name) one.className = name;
    parent.append(one);
    return one;
  };
  const short = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));
  const themed = { "#0072b2": "blue", "#d55e00": "vermillion", "#009e73": "green", "#e69f00": "orange", "#cc79a7": "purple",
    "#56b4e9": "sky", "#000000": "black", "#666666": "soft", "#8c6d46": "brown" };
  const color = (hex) => (themed[hex.toLowerCase()] ? `var(--${themed[hex.toLowerCase()]})` : hex);

  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const table = (rows) => rows.map((row) => row.map((v) => quoted(String(v ?? ""))).join(",")).join("\n") + "\n";

  const standalone = (svg) => {
    const copy = svg.cloneNode(true);
    copy.querySelectorAll(".hover").forEach((one) => one.remove());
    const [, , width, height] = svg.getAttribute("viewBox").split(" ");
    copy.setAttribute("width", `${width}pt`);
    copy.setAttribute("height", `${height}pt`);
    copy.removeAttribute("class");
    copy.querySelectorAll(".off").forEach((one) => one.remove());
    const text = new XMLSerializer().serializeToString(copy);
    return text.replace(/var\(--[a-z]+,\s*(#[0-9a-f]{6})\)/g, "$1"); // the colours of paper
  };

  const figure = (card) => {
    const svg = card.querySelector("svg.drawn");
    const { axes, series } = JSON.parse(svg.dataset.shown);
    const hidden = new Set();
    const tools = make("div", card, undefined, "tools");
    const groups = new Map(series.map((one) => [one.group, one]));
    if (groups.size > 1) {
      for (const [group, one] of groups) {
        const button = make("button", tools);
        button.type = "button";
        make("i", button).style.setProperty("--mark", color(one.color));
        button.append(one.name);
        button.setAttribute("aria-pressed", "true");
        button.addEventListener("click", () => {
          const off = !hidden.delete(group) && hidden.add(group);
          button.setAttribute("aria-pressed", String(!off));
          svg.querySelectorAll(`[id^="${CSS.escape(svg.dataset.prefix)}s${group}-"]`)
            .forEach((part) => part.classList.toggle("off", Boolean(off)));
        });
      }
    }
    make("span", tools, undefined, "gap");
    const button = (text, act) => {
      const one = make("button", tools, text);
      one.type = "button";
      one.addEventListener("click", act);
    };
    button("SVG", () => save(`${card.dataset.file}.svg`, "image/svg+xml", standalone(svg)));
    if (!series.length) return;
    button("CSV", () => {
      const rows = [["series", "x", "y", "low", "high"]];
      for (const one of series) one.x.forEach((x, i) => rows.push([one.name, x, one.y[i], one.low?.[i], one.high?.[i]]));
      save(`${card.dataset.file}.csv`, "text/csv", table(rows));
    });

    const mark = document.createElementNS(SVG, "line");
    mark.setAttribute("class", "hover");
    mark.setAttribute("style", "stroke:var(--soft);stroke-width:.8;stroke-dasharray:3 2;pointer-events:none");
    svg.append(mark);
    const tip = make("div", card, undefined, "tip");
    const leave = () => { tip.hidden = true; mark.style.display = "none"; };
    leave();
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const within = axes.map(({ box: [x0, y0, x1, y1] }) => at.x >= x0 && at.x <= x1 && at.y >= y0 && at.y <= y1);
      const seen = series.filter((one) => within[one.axes] && !hidden.has(one.group) && one.x.length);
      if (!seen.length) return leave();
      const place = axes[seen[0].axes];
      const [x0, y0, x1, y1] = place.box;
      const wanted = place.xlim[0] + ((at.x - x0) / (x1 - x0)) * (place.xlim[1] - place.xlim[0]);
      const nearest = (xs) => xs.reduce((best, x, i) => (Math.abs(x - wanted) < Math.abs(xs[best] - wanted) ? i : best), 0);
      const x = seen[0].x[nearest(seen[0].x)];
      const px = x0 + ((x - place.xlim[0]) / (place.xlim[1] - place.xlim[0])) * (x1 - x0);
      for (const [name, value] of [["x1", px], ["x2", px], ["y1", y0], ["y2", y1]]) mark.setAttribute(name, value);
      mark.style.display = "";
      tip.hidden = false;
      tip.replaceChildren();
      make("b", tip, `${place.x} ${x.toLocaleString("en")}`);
      const rows = seen.map((one) => [one, nearest(one.x)]).sort((a, b) => b[0].y[b[1]] - a[0].y[a[1]]);
      for (const [one, i] of rows) {
        const line = make("span", tip);
        make("i", line).style.setProperty("--mark", color(one.color));
        const band = one.low?.[i] != null ? ` (${short(one.low[i])} to ${short(one.high[i])})` : "";
        line.append(`${one.name}: ${short(one.y[i])}${band}`);
      }
      const box = card.getBoundingClientRect();
      const left = event.clientX - box.left + 14;
      tip.style.left = `${Math.max(4, left + tip.offsetWidth > box.width ? left - tip.offsetWidth - 28 : left)}px`;
      tip.style.top = `${event.clientY - box.top + 14}px`;
    });
  };

  const replay = (card) => {
    const { arms, trials } = JSON.parse(card.dataset.replay);
    const bar = make("div", card, undefined, "bar");
    const choice = make("select", bar);
    choice.setAttribute("aria-label", "trial");
    trials.forEach((_, i) => { make("option", choice, `trial ${i + 1}`).value = i; });
    const slider = document.createElement("input");
    const button = (text, label, act) => {
      const one = make("button", bar, text);
      one.type = "button";
      one.setAttribute("aria-label", label);
      one.addEventListener("click", act);
      return one;
    };
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "▶ play"; };
    const go = (step) => { slider.value = step; draw(); };
    button("◀", "one step back", () => { stop(); go(Number(slider.value) - 1); });
    const play = button("▶ play", "play or pause", () => {
      if (timer) return stop();
      if (slider.value === slider.max) go(0);
      play.textContent = "❚❚ pause";
      timer = setInterval(() => (slider.value === slider.max ? stop() : go(Number(slider.value) + 1)), 300);
    });
    button("▶", "one step on", () => { stop(); go(Number(slider.value) + 1); });
    Object.assign(slider, { type: "range", min: 0, step: 1 });
    slider.setAttribute("aria-label", "step of the trial");
    bar.append(slider);
    const now = make("p", card, undefined, "now");
    now.setAttribute("aria-live", "polite");
    const strip = make("div", card, undefined, "steps");
    make("h4", card, arms ? "Arms: pulls so far, their mean reward, and in blue how much was read of what memory holds of them" : "What the agent sees");
    const world = make("div", card);
    make("h4", card, "Memory: what it holds, and in blue what was read at this step");
    const memory = make("div", card);
    const read = make("p", card);

    const vector = (values) => (Array.isArray(values) ? values.map(short).join(", ") : short(values));
    const scene = (trial, step) => {
      world.replaceChildren();
      if (arms) {
        const cells = make("div", world, undefined, "cells");
        cells.style.setProperty("--cell", "4rem");
        for (let arm = 0; arm < arms; arm++) {
          const rewards = trial.rewards.slice(0, step + 1).filter((_, i) => trial.actions[i] === arm);
          const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
          const cell = make("div", cells, `arm ${arm}`, trial.actions[step] === arm ? "now-cell" : "");
          make("small", cell, rewards.length ? `${rewards.length} ×, ${Number(mean.toPrecision(2))}` : "not yet");
          const weights = trial.held === "step" ? trial.weights?.[step] : null;
          if (weights?.length) {
            const read = weights.reduce((sum, weight, slot) => sum + (trial.actions[slot] === arm ? weight : 0), 0);
            make("small", cell, `read ${short(Math.round(read) / 10)} %`);
            cell.classList.add("lit");
            cell.style.setProperty("--lit", `${Math.round(read / 15)}%`);
          }
        }
      }
      if (trial.image) {
        const { width, height, channels, frames } = trial.image;
        const bytes = Uint8Array.from(atob(frames[step]), (c) => c.charCodeAt(0));
        const canvas = make("canvas", world);
        Object.assign(canvas, { width, height });
        const context = canvas.getContext("2d");
        const pixels = context.createImageData(width, height);
        for (let i = 0; i < width * height; i++) {
          for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = bytes[channels * i + (channels >= 3 ? c : channels - 1)];
          pixels.data[4 * i + 3] = 255;
        }
        context.putImageData(pixels, 0, 0);
      }
      for (const [name, rows] of Object.entries(trial.observations)) make("p", world, `${name}: ${vector(rows[step])}`);
    };
    const held = (trial, slot) => {
      if (trial.held === "step") return `step ${slot + 1}: action ${vector(trial.actions[slot])}, reward ${short(trial.rewards[slot])}`;
      return trial.held === "episode" ? `episode ${slot + 1}: return ${short(trial.returns[slot])}` : `slot ${slot + 1}`;
    };
    const recall = (trial, step) => {
      memory.replaceChildren();
      const weights = trial.weights?.[step];
      if (!weights) {
        read.textContent = trial.weights ? "What was read was recorded only for the first steps." :
          "What was read was not recorded for this trial: the first one alone has it, where the agent has a store that tells it.";
        return;
      }
      const cells = make("div", memory, undefined, "cells");
      const most = Math.max(...weights, 1e-9);
      weights.forEach((weight, slot) => {
        const step = trial.held === "step", reward = step ? trial.rewards[slot] : trial.held ? trial.returns[slot] : null;
        const paid = reward === null || reward === undefined ? "" : reward > 0 ? " paid" : " lost";
        const cell = make("div", cells, step && !Array.isArray(trial.actions[slot]) ? String(trial.actions[slot]) : String(slot + 1), `lit${paid}`);
        cell.style.setProperty("--lit", `${Math.round((80 * weight) / most)}%`);
        cell.title = `${held(trial, slot)}; read with ${short(weight / 10)} %`;
      });
      const order = weights.map((w, i) => [w, i]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([w]) => w > 0);
      const nothing = 1000 - weights.reduce((a, b) => a + b, 0);
      const told = order.map(([w, i]) => `${held(trial, i)} (${short(w / 10)} %)`);
      const empty = weights.length ? `; of no slot: ${short(Math.max(0, nothing) / 10)} %` : "";
      if (weights.length > 3 && order.length && order[0][0] < 1.25 * Math.min(...weights)) {
        read.textContent = `All ${weights.length} slots were read alike, with about ${short(order[0][0] / 10)} % each${empty}.`;
        return;
      }
      read.textContent = (told.length ? `Read most: ${told.join("; ")}` : "Nothing was read of any slot") + empty + ".";
    };
    const draw = () => {
      const trial = trials[choice.value], step = Number(slider.value);
      const episode = trial.ends.slice(0, step).reduce((a, b) => a + b, 0) + 1;
      const total = trial.rewards.slice(0, step + 1).reduce((a, b) => a + b, 0);
      const ended = trial.ends[step] ? ", which ends the episode" : "";
      now.textContent = `Step ${step + 1} of ${trial.rewards.length}${trial.of > trial.rewards.length ? ` (of ${trial.of} in the trial)` : ""}` +
        `${arms ? "" : `, episode ${episode}`}: action ${vector(trial.actions[step])}, reward ${short(trial.rewards[step])}` +
        `${arms ? "" : ended}. Reward so far: ${short(total)}.`;
      [...strip.children].forEach((one, i) => {
        one.classList.toggle("ahead", i > step);
        one.classList.toggle("now-cell", i === step);
      });
      scene(trial, step);
      recall(trial, step);
    };
    const begin = () => {
      stop();
      const trial = trials[choice.value];
      const most = Math.max(...trial.rewards.map(Math.abs), 1e-9);
      strip.replaceChildren();
      trial.rewards.forEach((reward, i) => {
        const one = make("div", strip, undefined, `${reward < 0 ? "below" : ""}${trial.ends[i] && !arms ? " end" : ""}`);
        one.style.setProperty("--h", `${Math.round((100 * Math.abs(reward)) / most)}%`);
      });
      slider.max = trial.rewards.length - 1;
      go(0);
    };
    slider.addEventListener("input", () => { stop(); draw(); });
    addEventListener("beforeprint", stop);
    choice.addEventListener("change", begin);
    choice.hidden = trials.length < 2;
    const tools = make("div", card, undefined, "tools");
    const csv = make("button", tools, "CSV");
    csv.type = "button";
    csv.addEventListener("click", () => {
      const rows = [["trial", "step", "action", "reward", "episode_ended"]];
      trials.forEach((t, n) => t.rewards.forEach((r, i) => rows.push([n + 1, i + 1, [t.actions[i]].flat().join(" "), r, t.ends[i]])));
      save("trials.csv", "text/csv", table(rows));
    });
    begin();
  };

  // On paper what is folded is open, and replays stand still.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));

  document.querySelectorAll("figure").forEach(figure);
  document.querySelectorAll("[data-replay]").forEach(replay);
})();
