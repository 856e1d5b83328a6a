/* The table of rvx_plan_memory for the screen and as JSON. */
#include "bindings/c/memory_table.h"

#include <stdio.h>
#include <string.h>

enum { LIVE_SHOWN = 6 };

static const char *const stream_words[] = {"i16", "f32", "bf16"};
static const char *const storage_words[] = {"f32", "bf16"};

static bool on_gpu(const rvx_subject *subject) { return subject->job.isa == RVX_ISA_CUDA; }

/* ---- JSON -------------------------------------------------------------------------------------
 */

static void json_size(rvx_text *out, const char *name, const int64_t size[3])
{
    if (size[0])
        rvx__text_format(out, ", \"%s\": [%lld, %lld, %lld]", name, (long long)size[0],
                         (long long)size[1], (long long)size[2]);
    else
        rvx__text_format(out, ", \"%s\": null", name);
}

static void json_number(rvx_text *out, const char *name, double number)
{
    rvx__text_format(out, ", \"%s\": ", name);
    rvx__text_number(out, number);
}

static void json_row(rvx_text *out, const rvx_memory_table *table, const rvx_memory_row *row,
                     const rvx_subject *subject)
{
    const rvx_recipe *recipe = &subject->recipe;
    rvx__text_format(out, "{\"policy\": \"%s\", \"takes\": \"%s\"", rvx__policy_names[row->policy],
                     rvx__policy_names[row->taken]);
    rvx__text_format(out, ", \"peak_bytes\": %lld, \"parameters_bytes\": %lld",
                     (long long)row->peak_bytes, (long long)row->parameters_bytes);
    json_number(out, "flops", row->flops);
    json_number(out, "recompute_flops", row->recompute_flops);
    json_number(out, "time_ratio", row->seconds / table->rows[0].seconds);
    json_number(out, "predicted_seconds", row->seconds);
    rvx__text_format(out, ", \"exact\": %s, \"values_dropped\": %d", row->exact ? "true" : "false",
                     row->dropped - row->kept);
    rvx__text_add(out, ",\n  \"network\": ");
    rvx__text_quote(out, subject->job.model->name);
    json_size(out, "size", table->size);
    rvx__text_format(out, ", \"batch\": %lld, \"storage\": \"%s\", \"streams\": \"%s\"",
                     (long long)recipe->patch.batch, storage_words[recipe->memory.storage],
                     stream_words[recipe->memory.streams]);
    rvx__text_format(out, ", \"device\": \"%s\", \"held_bytes\": %lld",
                     on_gpu(subject) ? "cuda" : "cpu", (long long)table->held_bytes);
    if (table->budget_bytes) {
        rvx__text_format(out, ", \"budget_bytes\": %lld, \"fits\": %s",
                         (long long)table->budget_bytes, row->fits ? "true" : "false");
        json_size(out, "largest_size", table->largest[row->policy]);
    }
    rvx__text_add(out, ",\n  \"live_at_peak\": [");
    for (int32_t i = 0; i < row->live_count; i++) {
        rvx__text_add(out, i ? ",\n   {\"name\": " : "\n   {\"name\": ");
        rvx__text_quote(out, row->live[i].name);
        rvx__text_format(out, ", \"bytes\": %lld}", (long long)row->live[i].bytes);
    }
    rvx__text_add(out, "]}");
}

/* ---- Screen -----------------------------------------------------------------------------------
 */

/* "312.4 MiB", "15.02 GiB". */
static const char *bytes_text(char text[32], int64_t bytes)
{
    if (bytes < 10 * (int64_t)0x40000000)
        snprintf(text, 32, "%.1f MiB", (double)bytes / 0x1p20);
    else
        snprintf(text, 32, "%.2f GiB", (double)bytes / 0x1p30);
    return text;
}

static const char *size_text(char text[64], const int64_t size[3])
{
    snprintf(text, 64, size[0] ? "%lld x %lld x %lld" : "none", (long long)size[0],
             (long long)size[1], (long long)size[2]);
    return text;
}

static void print_head(rvx_text *out, const rvx_memory_table *table, const rvx_subject *subject)
{
    char size[64], bytes[32];
    const rvx_recipe *recipe = &subject->recipe;
    rvx__text_format(
        out, "One training step of %s on %s voxels, batch %lld, storage %s, streams %s%s",
        subject->job.model->name, size_text(size, table->size), (long long)recipe->patch.batch,
        storage_words[recipe->memory.storage], stream_words[recipe->memory.streams],
        on_gpu(subject) ? ", on a GPU (times predicted, not measured)" : "");
    if (table->budget_bytes)
        rvx__text_format(out, "; budget %s", bytes_text(bytes, table->budget_bytes));
    if (table->held_bytes)
        rvx__text_format(out, "; %s beside it for %svalidation",
                         bytes_text(bytes, table->held_bytes), on_gpu(subject) ? "" : "cases and ");
    rvx__text_format(out, "\n\n%-11s %12s %16s %6s  %s%s\n", "policy", "peak", "recompute GFLOP",
                     "time", "exact", table->budget_bytes ? "  fits  largest that fits" : "");
}

static void print_row(rvx_text *out, const rvx_memory_table *table, const rvx_memory_row *row)
{
    char bytes[32], size[64];
    rvx__text_format(out, "%-11s %12s %16.1f %5.2fx  %s", rvx__policy_names[row->policy],
                     bytes_text(bytes, row->peak_bytes), row->recompute_flops / 1e9,
                     row->seconds / table->rows[0].seconds, row->exact ? "yes" : "no ");
    if (table->budget_bytes)
        rvx__text_format(out, "    %-4s  %s", row->fits ? "yes" : "no",
                         size_text(size, table->largest[row->policy]));
    if (row->policy == RVX_POLICY_AUTO && row->kept)
        rvx__text_format(out, "  (%s, %d of %d values kept after all)",
                         rvx__policy_names[row->taken], row->kept, row->dropped);
    else if (row->policy == RVX_POLICY_AUTO)
        rvx__text_format(out, "  (%s)", rvx__policy_names[row->taken]);
    rvx__text_add(out, "\n");
}

static void print_live(rvx_text *out, const rvx_memory_row *row)
{
    char bytes[32];
    int64_t rest = row->peak_bytes;
    rvx__text_format(out, "\nlive at the peak of %s\n", rvx__policy_names[row->policy]);
    int32_t shown = row->live_count <= LIVE_SHOWN + 1 ? row->live_count : LIVE_SHOWN;
    for (int32_t i = 0; i < shown; i++) {
        rest -= row->live[i].bytes;
        rvx__text_format(out, "%24s  %s\n", bytes_text(bytes, row->live[i].bytes),
                         row->live[i].name);
    }
    if (shown < row->live_count)
        rvx__text_format(out, "%24s  %d others\n", bytes_text(bytes, rest),
                         row->live_count - shown);
}

void rvx__memory_print(rvx_text *out, const rvx_memory_table *table, const rvx_subject *subject,
                       bool json)
{
    if (json) {
        for (int i = 0; i < table->row_count; i++) {
            rvx__text_add(out, i ? ",\n " : "[");
            json_row(out, table, &table->rows[i], subject);
        }
        rvx__text_add(out, "]\n");
        return;
    }
    print_head(out, table, subject);
    for (int i = 0; i < table->row_count; i++)
        print_row(out, table, &table->rows[i]);
    for (int i = 0; i < table->row_count; i++)
        print_live(out, &table->rows[i]);
}
