/* Reads command lines by the tables of the verbs. Invariant: an option that is unknown, repeated,
 * without its value or out of range is refused by name; nothing is guessed. */
#include "bindings/cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 64, NAME_BYTES = 64 };

int rvx__cli_usage_error(const char *verb, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("revoxel: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nrevoxel: 'revoxel%s%s --help' shows what there is\n", verb ? " " : "",
            verb ? verb : "");
    return RVX_EXIT_USAGE;
}

/* ---- Values: each reads all of `text` or answers false ----------------------------------------
 */

static bool read_integer(int64_t *out, const char *text, double min, double max)
{
    char *end;
    const char *digits = text + (text[0] == '-');
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!(*digits >= '0' && *digits <= '9') || errno || *end || (double)value < min ||
        (double)value > max)
        return false;
    *out = value;
    return true;
}

/* Plain decimals: no hexadecimal, no "inf", no leading blanks. */
static bool read_decimal(double *out, const char **end, const char *text)
{
    size_t bytes = strspn(text, "+-0123456789.eE");
    char *stop;
    errno = 0;
    *out = strtod(text, &stop);
    *end = stop;
    return bytes > 0 && stop > text && (size_t)(stop - text) <= bytes && !errno && isfinite(*out);
}

static bool read_number(double *out, const char *text, double min, double max)
{
    const char *end;
    return read_decimal(out, &end, text) && !*end && *out >= min && *out <= max;
}

static bool read_bytes(int64_t *out, const char *text)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"KiB", 1024},
                 {"MiB", 1048576},
                 {"GiB", 1073741824},
                 {"TiB", 1099511627776},
                 {"kB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"TB", 1e12}};
    const char *end;
    double value;
    if (!read_decimal(&value, &end, text))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i].name, end) == 0) {
            value *= units[i].bytes;
            *out = value >= 1 && value < 9e18 ? (int64_t)value : 0;
            return *out > 0;
        }
    return false;
}

/* Up to `count_max` integers with `separator` between them; how many, or 0. */
static int read_integers(int64_t *out, const char *text, char separator, int count_max, double min,
                         double max)
{
    char piece[24];
    for (int count = 0; count < count_max;) {
        const char *end = strchr(text, separator);
        size_t bytes = end ? (size_t)(end - text) : strlen(text);
        if (bytes >= sizeof piece)
            return 0;
        memcpy(piece, text, bytes);
        piece[bytes] = 0;
        if (!read_integer(&out[count++], piece, min, max))
            return 0;
        if (!end)
            return count;
        text = end + 1;
    }
    return 0;
}

/* Which of the words between '|' the text is; -1: none. */
static int word_index(const char *words, const char *text)
{
    size_t bytes = strlen(text);
    for (int index = 0; words; index++) {
        size_t length = strcspn(words, "|");
        if (length == bytes && strncmp(words, text, bytes) == 0)
            return index;
        words = words[length] ? words + length + 1 : NULL;
    }
    return -1;
}

static bool read_value(void *field, const rvx_cli_option *option, const char *text)
{
    int64_t *integers = field;
    rvx_cli_list *list = field;
    int word = word_index(option->word, text);
    if (word >= 0) {
        for (int i = 0; i < (option->kind == RVX_CLI_SIZE ? 3 : 1); i++)
            integers[i] = option->word_value - word;
        return true;
    }
    switch (option->kind) {
    case RVX_CLI_TEXT:
        *(const char **)field = text;
        return text[0] != 0;
    case RVX_CLI_INTEGER:
        return read_integer(integers, text, option->min, option->max);
    case RVX_CLI_NUMBER:
        return read_number(field, text, option->min, option->max);
    case RVX_CLI_BYTES:
        return read_bytes(integers, text);
    case RVX_CLI_SIZE:
        return read_integers(integers, text, 'x', 3, option->min, option->max) == 3;
    case RVX_CLI_LIST:
        list->count =
            read_integers(list->values, text, ',', RVX_CLI_LIST_MAX, option->min, option->max);
        return list->count > 0;
    case RVX_CLI_FLAG:
        break;
    }
    return false;
}

static int refuse_value(const rvx_cli_verb *verb, const rvx_cli_option *option, const char *text)
{
    static const char *const expected[] = {
        [RVX_CLI_FLAG] = "nothing",
        [RVX_CLI_TEXT] = "some text",
        [RVX_CLI_INTEGER] = "a whole number",
        [RVX_CLI_NUMBER] = "a number",
        [RVX_CLI_BYTES] = "a number of bytes such as 12GiB or 800MB",
        [RVX_CLI_SIZE] = "three whole numbers such as 64x64x48, each",
        [RVX_CLI_LIST] = "whole numbers such as 16,32,64, each"};
    char word[48] = "", range[64] = "";
    if (option->word)
        snprintf(word, sizeof word, ", or '%s'", option->word);
    if (option->max > option->min)
        snprintf(range, sizeof range, " from %.10g to %.10g", option->min, option->max);
    return rvx__cli_usage_error(verb->name, "%s expects %s%s%s; found '%s'", option->name,
                                expected[option->kind], range, word, text);
}

/* ---- The command line -------------------------------------------------------------------------
 */

/* The option that `argument` names up to an '=', or -1. */
static int find_option(const rvx_cli_verb *verb, const char *argument)
{
    size_t bytes = strcspn(argument, "=");
    for (int i = 0; verb->options[i].name; i++)
        if (strlen(verb->options[i].name) == bytes &&
            strncmp(verb->options[i].name, argument, bytes) == 0)
            return i;
    return -1;
}

static int refuse_option(const rvx_cli_verb *verb, const char *argument)
{
    const char *names[OPTIONS_MAX + 1] = {0};
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(argument, "="), argument);
    for (int i = 0; verb->options[i].name && i < OPTIONS_MAX; i++)
        names[i] = verb->options[i].name;
    const char *near = rvx__cli_nearest(name, names);
    if (near)
        return rvx__cli_usage_error(verb->name, "%s has no option '%s'; did you mean '%s'?",
                                    verb->name, name, near);
    return rvx__cli_usage_error(verb->name, "%s has no option '%s'", verb->name, name);
}

/* One option at arguments[*i], with its value perhaps at the next place; moves *i there. */
static int parse_option(const rvx_cli_verb *verb, void *options, bool *given, int *i, int count,
                        char **arguments)
{
    const char *argument = arguments[*i];
    int index = find_option(verb, argument);
    if (index < 0)
        return refuse_option(verb, argument);
    const rvx_cli_option *option = &verb->options[index];
    char *field = (char *)options + option->offset;
    const char *value = strchr(argument, '=');
    if (given[index])
        return rvx__cli_usage_error(verb->name, "%s is given twice", option->name);
    given[index] = true;
    if (option->kind == RVX_CLI_FLAG) {
        if (value)
            return rvx__cli_usage_error(verb->name, "%s takes no value", option->name);
        *(bool *)field = true;
        return 0;
    }
    if (value)
        value++;
    else if (*i + 1 < count && strncmp(arguments[*i + 1], "--", 2) != 0)
        value = arguments[++*i];
    else
        return rvx__cli_usage_error(verb->name, "%s needs a value: %s %s", option->name,
                                    option->name, option->value);
    return read_value(field, option, value) ? 0 : refuse_value(verb, option, value);
}

static int check_counts(const rvx_cli_verb *verb, const bool *given, char **positional,
                        int64_t count)
{
    if (count < verb->arguments_min)
        return rvx__cli_usage_error(verb->name, "usage: revoxel %s %s", verb->name, verb->usage);
    if (count > verb->arguments_max)
        return rvx__cli_usage_error(verb->name, "%s does not know what to do with '%s'", verb->name,
                                    positional[verb->arguments_max]);
    for (int i = 0; verb->options[i].name; i++)
        if (verb->options[i].required && !given[i])
            return rvx__cli_usage_error(verb->name, "%s needs %s %s", verb->name,
                                        verb->options[i].name, verb->options[i].value);
    return 0;
}

int rvx__cli_parse(const rvx_cli_verb *verb, void *options, int64_t *positional_count, int count,
                   char **arguments)
{
    bool given[OPTIONS_MAX] = {false};
    bool only_positional = false;
    *positional_count = 0;
    for (int i = 0; i < count; i++) {
        char *argument = arguments[i];
        if (only_positional || argument[0] != '-' || !argument[1]) {
            arguments[(*positional_count)++] = argument;
        } else if (strcmp(argument, "--") == 0) {
            only_positional = true;
        } else {
            int status = parse_option(verb, options, given, &i, count, arguments);
            if (status)
                return status;
        }
    }
    return check_counts(verb, given, arguments, *positional_count);
}

/* The library itself reads no environment. */
const char *rvx__cli_device_library(void)
{
    const char *path = getenv("REVOXEL_CUDA_LIBRARY");
    return path && path[0] ? path : NULL;
}
