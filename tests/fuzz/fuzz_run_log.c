/* Any bytes as metrics.jsonl: what is accepted has ascending steps and can be drawn. */
#include "engine/segment/report_page.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rvx_error error;
    rvx_run_log log;
    if (rvx__run_log_parse(&log, (const char *)data, (int64_t)size, "fuzz", &error) == RVX_OK) {
        rvx_text page = {0};
        for (int64_t i = 1; i < log.step_count; i++)
            if (!(log.steps[i].step > log.steps[i - 1].step))
                abort();
        rvx__report_curves(&page, &log);
        rvx__text_free(&page);
    }
    rvx__run_log_free(&log);
    return 0;
}
