/* Test Anything Protocol, for `prove`. A test program calls TAP_OK and friends and ends with
 * `return tap_done();`. Owns: numbering and the exit status. */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int tap_count, tap_failures;

__attribute__((format(printf, 2, 3), unused)) static int tap_ok(int passed, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%sok %d - ", passed ? "" : "not ", ++tap_count);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    tap_failures += !passed;
    fflush(stdout);
    return passed;
}

__attribute__((unused)) static void tap_skip(const char *reason)
{
    printf("ok %d # SKIP %s\n", ++tap_count, reason);
}

__attribute__((unused)) static int tap_done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failures != 0;
}

#define TAP_OK(expression) tap_ok((expression) != 0, "%s:%d %s", __FILE__, __LINE__, #expression)

#endif
