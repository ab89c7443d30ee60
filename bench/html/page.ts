/** The report as one page that needs nothing else: no script, no font, no picture from elsewhere. */
import { type BenchReport, figure, type JudgedTarget, type SuiteReport, summaryLine } from '../report.ts';
import type { Table } from '../suite.ts';
import { chartSvg } from './chart.ts';
import { escapeHtml } from './escape.ts';
import { STYLE } from './style.ts';

export function htmlPage(report: BenchReport): string {
  const { command, at, machine, commit, suites } = report;
  const { cpu, cores, memoryGiB, node, os, loadBefore } = machine;
  const busy =
    loadBefore > cores / 2
      ? `<p class="warn">The machine was not quiet when this began (load ${loadBefore} on ${cores} cores): figures are worse than it can do.</p>`
      : '';
  const links = suites
    .map(({ suite }) => `<a href="#${escapeHtml(suite)}">${escapeHtml(suite)}</a>`)
    .join('');
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">' +
    '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Tidemark: measured</title>' +
    `<style>${STYLE}</style></head><body><main><h1>Tidemark, measured</h1>` +
    `<div class="soft">${escapeHtml(at.slice(0, 16).replace('T', ' '))} UTC · commit ${escapeHtml(commit ?? 'unknown')}<br>` +
    `${escapeHtml(cpu)}, ${cores} cores, ${memoryGiB} GiB · Node ${escapeHtml(node)} · ${escapeHtml(os)}<br>` +
    `<code>${escapeHtml(command)}</code></div>${busy}<p>${escapeHtml(summaryLine(report))}</p><nav>${links}</nav>` +
    `${suites.map(suiteHtml).join('')}</main></body></html>\n`
  );
}

function suiteHtml(report: SuiteReport): string {
  const { suite, about, tookSeconds, tables, charts, targets, failure } = report;
  const drawn = (charts ?? []).map(chartSvg).join('');
  return (
    `<section id="${escapeHtml(suite)}"><h2>${escapeHtml(suite)}</h2>` +
    `<div class="soft">${escapeHtml(about)} · ${tookSeconds} s</div>` +
    (failure === null ? '' : `<pre class="warn">${escapeHtml(failure)}</pre>`) +
    (drawn === '' ? '' : `<div class="charts">${drawn}</div>`) +
    tables.map(tableHtml).join('') +
    `${targetsHtml(targets)}</section>`
  );
}

function tableHtml({ title, head, rows, note }: Table): string {
  const cells = (tag: string, row: readonly string[]): string =>
    `<tr>${row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`;
  return (
    `<h3>${escapeHtml(title)}</h3><div class="scroll"><table>${cells('th', head)}` +
    `${rows.map((row) => cells('td', row)).join('')}</table></div>` +
    (note === undefined ? '' : `<p class="soft">${escapeHtml(note)}</p>`)
  );
}

function targetsHtml(targets: readonly JudgedTarget[]): string {
  if (targets.length === 0) return '';
  const rows = targets.map(({ name, wanted, is, unit, found, isMet }) => {
    const sign = is === 'at-most' ? '≤' : '≥';
    const [verdict, look] =
      isMet === null ? ['not measured', 'soft'] : isMet ? ['met', 'good'] : ['short', 'bad'];
    return (
      `<tr><td>${escapeHtml(name)}</td><td>${sign} ${escapeHtml(`${figure(wanted)} ${unit}`)}</td>` +
      `<td>${found === null ? '' : escapeHtml(`${figure(found)} ${unit}`)}</td><td class="${look}">${verdict}</td></tr>`
    );
  });
  return (
    '<h3>Targets</h3><div class="scroll"><table class="targets">' +
    `<tr><th>what</th><th>wanted</th><th>found</th><th></th></tr>${rows.join('')}</table></div>`
  );
}
