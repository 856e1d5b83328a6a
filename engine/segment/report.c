/* The report of a run: see report.h. This file holds the frame of the page; sections are in
 * report_training.c and report_cases.c. */
#include "engine/segment/report.h"

#include "engine/base/file.h"
#include "engine/run/timing.h"
#include "engine/segment/report_page.h"
#include "engine/segment/svg.h"
#include "engine/volume/repair.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPAIRS_BYTES_MAX = 16 << 20 };

static const char page_style[] =
    ":root{color-scheme:light}*{box-sizing:border-box}"
    "body{margin:0;background:#f5f6f8;color:#212529;font:15px/1.5 system-ui,-apple-system,'Segoe "
    "UI',Roboto,'DejaVu Sans',sans-serif}"
    "main{max-width:1240px;margin:0 auto;padding:32px 24px 64px}"
    "header{margin-bottom:24px}h1{font-size:28px;line-height:1.2;margin:0}"
    "header p{margin:4px 0 0;color:#868e96}h2{font-size:19px;margin:0 0 16px}"
    "h3{font-size:15px;margin:24px 0 10px}"
    "section,article{background:#fff;border:1px solid #e3e6ea;border-radius:10px;padding:22px "
    "24px;margin:0 0 22px}"
    "article{padding:18px 0 4px;border-width:1px 0 0;border-radius:0;margin:18px 0 0}"
    "article h3{margin:0 0 6px;font-size:16px}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(126px,1fr));gap:14px;margin:"
    "0 "
    "0 22px}.tiles div{background:#fff;border:1px solid #e3e6ea;border-radius:10px;padding:14px "
    "18px}.tiles "
    "b{display:block;font-size:23px;font-weight:600;line-height:1.25;white-space:nowrap}"
    ".tiles small{font-size:13px;font-weight:400;color:#868e96}.tiles "
    "span{color:#868e96;font-size:13px}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(430px,1fr));gap:8px "
    "28px}figure{margin:0}.chart svg{width:100%;height:auto;display:block}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".data{width:100%;font-size:14px}.data th,.data td{padding:7px 6px;border-bottom:1px solid "
    "#edeff2;text-align:left;white-space:nowrap}.data th{font-size:12.5px;color:#495057;"
    "font-weight:600;border-bottom-color:#ced4da}.data .n{text-align:right}.data "
    "small{font-weight:400;color:#868e96}.data .sum td{font-weight:600;border-top:1px solid "
    "#ced4da}.data tr:last-child td{border-bottom:0}a{color:#1864ab;text-decoration:none}"
    "a:hover{text-decoration:underline}"
    ".bar{display:inline-block;width:72px;height:7px;border-radius:4px;background:#e9ecef;"
    "margin-right:9px;vertical-align:1px;overflow:hidden}.bar "
    "i{display:block;height:100%;background:#2f9e44}"
    ".swatch{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px}"
    ".legend span{margin-right:20px;white-space:nowrap}.legend "
    "svg{vertical-align:-3px;margin-right:7px}.note{color:#868e96;font-size:13px;margin:6px 0}"
    ".chips span{display:inline-block;font-size:13px;color:#495057;margin:0 18px 4px 0}"
    ".planes{display:grid;grid-template-columns:repeat(3,1fr);gap:16px;margin-top:8px}"
    "@media(max-width:860px){.planes{grid-template-columns:1fr}}"
    ".plane{display:flex;flex-direction:column;gap:6px}.view{position:relative;background:#000;"
    "border-radius:6px;overflow:hidden;display:flex;justify-content:center;align-items:center;"
    "aspect-ratio:1}.view img{display:block}"
    ".view b{position:absolute;color:#fff;font-size:12px;font-weight:600;opacity:.75;text-shadow:0 "
    "0 3px #000}.view .l{left:6px;top:50%}.view .r{right:6px;top:50%}.view .t{top:3px;left:50%}"
    ".view .b{bottom:3px;left:50%}figcaption{font-size:13px;font-weight:600}figcaption "
    "span{font-weight:400;color:#868e96}"
    ".plan th{font:12.5px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;color:#495057;"
    "text-align:left;padding:2px 18px 2px 0;vertical-align:top}.plan td{font-size:13px;padding:2px "
    "0;white-space:pre-wrap}summary{cursor:pointer;color:#1864ab}.columns{margin-top:12px}"
    "@media "
    "print{body{background:#fff}section{break-inside:avoid-page}article{break-inside:avoid}}";

static void tile_open(rvx_text *out) { rvx__text_add(out, "<div><b>"); }

static void tile_close(rvx_text *out, const char *label)
{
    rvx__text_format(out, "</b><span>%s</span></div>\n", label);
}

static void metric_tile(rvx_text *out, const rvx_evaluation *e, int field, const char *label)
{
    tile_open(out);
    double value = rvx__evaluation_mean(e, field);
    rvx__report_value(out, field, value);
    if (rvx__metrics_fields[field].unit[0] && isfinite(value))
        rvx__text_format(out, " <small>%s</small>", rvx__metrics_fields[field].unit);
    tile_close(out, label);
}

static void tiles_add(rvx_text *out, const rvx_report_request *report, const rvx_run_log *log)
{
    const rvx_evaluation *e = report->evaluation;
    rvx__text_add(out, "<div class=\"tiles\">\n");
    if (e && e->case_count > 0) {
        metric_tile(out, e, 0, "mean Dice");
        metric_tile(out, e, 2, "mean surface Dice (NSD)");
        metric_tile(out, e, 3, "mean HD95");
        metric_tile(out, e, 4, "mean surface distance");
        tile_open(out);
        rvx__text_format(out, "%lld", (long long)e->case_count);
        tile_close(out, e->case_count == 1 ? "case evaluated" : "cases evaluated");
    }
    double best = NAN, speed = 0.0;
    int64_t speeds = 0;
    for (int64_t i = 0; i < log->validation_count; i++)
        best = fmax(best, log->validations[i].mean_dice);
    for (int64_t i = 0; i < log->step_count; i++) {
        if (isfinite(log->steps[i].voxels_per_second)) {
            speed += log->steps[i].voxels_per_second;
            speeds++;
        }
    }
    if (log->step_count > 0) {
        tile_open(out);
        rvx__markup_plain(out, log->steps[log->step_count - 1].step);
        tile_close(out, "training steps");
    }
    if (isfinite(best)) {
        tile_open(out);
        rvx__markup_fixed(out, best, 3);
        tile_close(out, "best Dice while training");
    }
    if (speeds > 0) {
        tile_open(out);
        rvx__markup_short(out, speed / (double)speeds);
        tile_close(out, "voxels per second (training)");
    }
    rvx_timing timing = {0};
    if (report->run)
        rvx__timing_load(&timing, report->run);
    if (timing.steps > 0) {
        tile_open(out);
        rvx__text_format(out, "%.1f&#8239;%%", 100 * rvx__timing_wait_share(&timing));
        tile_close(out, "of training spent waiting for samples");
    }
    rvx__text_add(out, "</div>\n");
}

static void definitions_add(rvx_text *out, const rvx_evaluation *e)
{
    rvx__text_add(out, "<section id=\"definitions\"><h2>Definitions</h2>\n<p>Distances are in "
                       "millimetres with the spacing of each case. <b>Dice</b> is twice the common "
                       "volume over the sum of both; <b>IoU</b> the common over the joint volume. "
                       "<b>HD95</b> is the larger of the two 95th percentiles of the distances "
                       "between the surfaces, <b>ASSD</b> their mean, <b>NSD</b> the share of both "
                       "surfaces within ");
    rvx__markup_plain(out, e->tolerance_mm);
    rvx__text_add(out,
                  "&#8239;mm of each other. <b>Volume error</b> is prediction minus reference. "
                  "A dash is a value that does not exist because a class is empty; means leave "
                  "it out. A class that only one side has scores 0 in Dice, IoU and NSD.</p>"
                  "</section>\n");
}

/* Appends RUN/name to `out` and says whether that is a file. */
static rvx_status run_file(char out[RVX_PATH_BYTES], bool *there, const char *run, const char *name,
                           rvx_error *error)
{
    *there = false;
    if (!run)
        return RVX_OK;
    rvx_status status = rvx__path_join(out, run, name, error);
    *there = status == RVX_OK && rvx__path_is_file(out);
    return status;
}

/* The last part of the run folder's path, trailing slashes aside. */
static void title_add(rvx_text *out, const rvx_report_request *report)
{
    char name[RVX_PATH_BYTES];
    if (report->title || !report->run) {
        rvx__markup_add(out, report->title ? report->title : "Segmentation report");
        return;
    }
    snprintf(name, sizeof name, "%s", report->run);
    for (size_t end = strlen(name); end > 1 && name[end - 1] == '/';)
        name[--end] = 0;
    rvx__markup_add(out, rvx__path_name(name));
}

/* What --repair did to the files of the run, so that nobody reads its figures without knowing. */
static rvx_status repairs_add(rvx_text *out, const char *path, rvx_error *error)
{
    char *text = NULL;
    int64_t bytes;
    rvx_status status = rvx__file_read_all(&text, &bytes, path, REPAIRS_BYTES_MAX, error);
    if (status != RVX_OK)
        return status;
    rvx__text_add(out, "<section id=\"repairs\">\n<h2>Repaired files</h2>\n<ul>\n");
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
        if (*line) {
            rvx__text_add(out, "<li>");
            rvx__markup_add(out, line);
            rvx__text_add(out, "</li>\n");
        }
    rvx__text_add(out, "</ul>\n</section>\n");
    free(text);
    return RVX_OK;
}

static rvx_status page_fill(rvx_text *out, const rvx_report_request *report, const int64_t *order,
                            rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_run_log log = {0};
    char path[RVX_PATH_BYTES];
    bool there = false;
    RVX_TRY(run_file(path, &there, report->run, "metrics.jsonl", error));
    if (there)
        RVX_TRY(rvx__run_log_load(&log, path, error));
    rvx__text_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                       "<title>");
    title_add(out, report);
    rvx__text_add(out, "</title>\n<style>");
    rvx__text_add(out, page_style);
    rvx__text_add(out, "</style>\n</head>\n<body><main>\n<header><h1>");
    title_add(out, report);
    rvx__text_add(out, "</h1><p>Revoxel segmentation report</p></header>\n");
    tiles_add(out, report, &log);
    rvx__report_curves(out, &log);
    if (report->evaluation && report->evaluation->case_count > 0) {
        rvx__report_tables(out, report->evaluation, order);
        RVX_TRY(rvx__report_spread(out, report->evaluation, error));
    }
    RVX_TRY(rvx__report_postprocess(out, report->run, error));
    RVX_TRY(rvx__report_pictures(out, report, order, error));
    RVX_TRY(run_file(path, &there, report->run, RVX_REPAIRS_FILE, error));
    if (there)
        RVX_TRY(repairs_add(out, path, error));
    RVX_TRY(run_file(path, &there, report->run, "plan.json", error));
    if (there)
        RVX_TRY(rvx__report_recipe(out, path, error));
    if (report->evaluation && report->evaluation->case_count > 0)
        definitions_add(out, report->evaluation);
    rvx__text_add(out, "</main></body>\n</html>\n");
    status = rvx__text_check(out, error);
cleanup:
    rvx__run_log_free(&log);
    return status;
}

rvx_status rvx__report_write(const char *out_path, const rvx_report_request *report,
                             rvx_error *error)
{
    rvx_status status = RVX_OK;
    rvx_text page = {0};
    int64_t count = report->evaluation ? report->evaluation->case_count : 0;
    int64_t *order = calloc((size_t)count + 1, sizeof *order);
    if (!order)
        return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for the report", out_path);
    if (report->evaluation)
        rvx__evaluation_order(order, report->evaluation);
    RVX_TRY(page_fill(&page, report, order, error));
    status = rvx__file_write(out_path, page.data, page.bytes, error);
cleanup:
    rvx__text_free(&page);
    free(order);
    return status;
}
