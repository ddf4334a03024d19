function render({ model, el }) {
  const [row, sliders, frame] = ["div", "div", "iframe"].map((name) => document.createElement(name));
  const make = (name, words, parent, values = {}) => {
    const label = document.createElement("label"), hand = document.createElement(name);
    label.append(words + " ", Object.assign(hand, values));
    label.style = "display: inline-flex; align-items: center; gap: 6px; margin: 2px 14px 2px 0; min-height: 30px";
    parent.append(label);
    return hand;
  };
  const send = (name, value) => {
    if (JSON.stringify(value) === JSON.stringify(model.get(name))) return draw();  // no new page would come
    frame.style.opacity = .4; model.set(name, value); model.save_changes();
  };
  const shares = model.get("shares"), named = (k) => `component ${k + 1} (${(100 * shares[k]).toFixed(0)} %)`;
  const choices = ["across", "up"].map((words, side) => {
    const choice = make("select", words, row);
    choice.append(...shares.map((_, k) => new Option(named(k), k)));
    choice.onchange = () => {
      if (choices[0].value === choices[1].value) return draw();
      send("axes", choices.map((one) => +one.value));
    };
    return choice;
  });
  const hands = shares.map((_, k) => {
    const hand = make("input", named(k), sliders, { type: "range", min: -3, max: 3, step: .25 });
    hand.onchange = () => send("place", hands.map((one) => +one.value));
    return hand;
  });
  const home = Object.assign(document.createElement("button"), { textContent: "all others to their middle" });
  home.onclick = () => send("place", shares.map(() => 0));
  row.append(home);
  frame.title = "Latent-space explorer";
  frame.style = "width: 100%; height: 880px; border: 0";
  sliders.style = "max-height: 110px; overflow-y: auto; border: 1px solid #dcdcdc; padding: 4px 8px";
  const draw = () => {
    frame.srcdoc = model.get("page");
    frame.style.opacity = 1;
    choices.forEach((choice, side) => choice.value = model.get("axes")[side]);
    hands.forEach((hand, k) => { hand.value = model.get("place")[k]; hand.disabled = model.get("axes").includes(k); });
  };
  model.on("change:page", draw);
  el.append(row, sliders, frame);
  draw();
}
export default { render };
