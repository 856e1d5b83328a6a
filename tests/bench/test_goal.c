/* A goal's verdict: both directions, the limit itself, the stretch, what was not measured; and the
 * line and the object that say it. */
#include "bench/goal.h"
#include "tap.h"

#include <stdbool.h>
#include <string.h>

static const bench_goal most = {"seconds", 0.65, 0.52, 0}, least = {"times cuDNN", 3.5, 5, 1},
                        plain = {"GB", 60, 0, 0};

static bool says(const bench_goal *goal, double measured, const char *verdict)
{
    return strcmp(goal_verdict(goal, measured), verdict) == 0;
}

static bool json_is(const bench_goal *goal, double measured, bool first, const char *want)
{
    char text[256] = "";
    FILE *file = tmpfile();
    if (!file)
        return false;
    goal_json(file, goal, measured, first);
    rewind(file);
    bool same = fgets(text, sizeof text, file) && strcmp(text, want) == 0;
    fclose(file);
    return same;
}

int main(void)
{
    tap_ok(says(&most, 0.65, "met, stretch not") && says(&most, 0.6501, "NOT MET"),
           "at most: the limit itself will do, more does not");
    tap_ok(says(&most, 0.52, "met, stretch too"), "at most: the stretch");
    tap_ok(says(&least, 3.5, "met, stretch not") && says(&least, 3.49, "NOT MET"), "at least");
    tap_ok(says(&least, 5, "met, stretch too"), "at least: the stretch");
    tap_ok(says(&plain, 59, "met") && says(&plain, 61, "NOT MET"), "without a stretch");
    tap_ok(says(&most, NAN, "not measured") && says(&least, NAN, "not measured"),
           "what was not measured meets nothing");
    tap_ok(json_is(&plain, 61, true,
                   "{\"figure\": \"GB\", \"at_most\": 60, \"stretch\": 0, \"measured\": 61, "
                   "\"met\": false}"),
           "JSON: not met");
    tap_ok(json_is(&least, NAN, false,
                   ", {\"figure\": \"times cuDNN\", \"at_least\": 3.5, \"stretch\": 5, "
                   "\"measured\": null, "
                   "\"met\": null}"),
           "JSON: not measured, and not the first");
    return tap_done();
}
