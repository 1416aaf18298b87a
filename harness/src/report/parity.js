const open = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", open);
open();
document.querySelector("input.search")?.addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const group of document.querySelectorAll("details.group")) {
    let shown = 0;
    for (const row of group.querySelectorAll("tr[data-id]")) {
      row.hidden = wanted !== "" && !row.dataset.id.includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    group.hidden = shown === 0;
    if (wanted !== "") group.open = shown > 0;
  }
});
