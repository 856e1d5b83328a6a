/* A strict check that markup is well formed: every tag closed in order, attributes quoted, no stray
 * < or &. Owns nothing. Void HTML elements need no end. */
#ifndef MARKUP_H
#define MARKUP_H

#include <ctype.h>
#include <stdio.h>
#include <string.h>

__attribute__((unused)) static int markup_complain(const char *what, const char *at)
{
    printf("# markup: %s at: %.60s\n", what, at);
    return 0;
}

/* The end of the tag that starts at `at`, past attributes whose values are quoted; NULL if broken.
 */
__attribute__((unused)) static const char *markup_tag_end(const char *at)
{
    char quote = 0;
    for (; *at; at++) {
        if (quote)
            quote = *at == quote ? 0 : quote;
        else if (*at == '"')
            quote = *at;
        else if (*at == '>')
            return at;
        else if (*at == '<')
            return NULL;
        if (quote && *at == '<')
            return NULL;
    }
    return NULL;
}

__attribute__((unused)) static int markup_well_formed(const char *text)
{
    static const char *const voids[] = {"meta", "img", "br", "!DOCTYPE"};
    char stack[64][24];
    int depth = 0;
    for (const char *at = text; *at;) {
        if (*at == '&') {
            const char *end = strchr(at, ';');
            if (!end || end - at > 8)
                return markup_complain("stray &", at);
        }
        if (*at == '>')
            return markup_complain("stray >", at);
        if (*at != '<') {
            at++;
            continue;
        }
        const char *end = markup_tag_end(at + 1);
        if (!end)
            return markup_complain("broken tag", at);
        int closing = at[1] == '/', single = end[-1] == '/';
        char name[24];
        sscanf(at + 1 + closing, "%23[!A-Za-z0-9]", name);
        for (size_t i = 0; i < sizeof voids / sizeof *voids; i++)
            single |= strcmp(name, voids[i]) == 0;
        if (closing) {
            if (depth == 0 || strcmp(stack[--depth], name) != 0)
                return markup_complain("end without start", at);
        } else if (!single) {
            if (depth == 64)
                return markup_complain("too deep", at);
            memcpy(stack[depth++], name, sizeof name);
        }
        at = end + 1;
        if (!closing && !single && strcmp(name, "style") == 0)
            at = strstr(at, "</style>");
    }
    return depth == 0 ? 1 : markup_complain("not closed", stack[depth - 1]);
}

#endif
