/* The command `revoxel`: finds the verb and hands over. */
#include "bindings/cli/cli.h"

#include <stdio.h>
#include <string.h>

const rvx_cli_verb *const rvx__cli_verbs[] = {
#define RVX_VERB(name) &rvx__cli_##name,
#include "bindings/cli/verbs.def"
#undef RVX_VERB
    NULL};

enum { VERB_COUNT = sizeof rvx__cli_verbs / sizeof *rvx__cli_verbs - 1 };

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

static const rvx_cli_verb *find(const char *name)
{
    for (int i = 0; rvx__cli_verbs[i]; i++)
        if (strcmp(rvx__cli_verbs[i]->name, name) == 0)
            return rvx__cli_verbs[i];
    return NULL;
}

/* The part of a verb of two words, whose name is both of them; or NULL. */
static const rvx_cli_verb *find_part(const rvx_cli_verb *verb, const char *word)
{
    size_t first = strlen(verb->name);
    for (int i = 0; verb->parts && verb->parts[i]; i++)
        if (strcmp(verb->parts[i]->name + first + 1, word) == 0)
            return verb->parts[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[VERB_COUNT + 1] = {0};
    if (name[0] == '-')
        return rvx__cli_usage_error(NULL, "there is no option '%s' before a verb", name);
    for (int i = 0; rvx__cli_verbs[i]; i++)
        names[i] = rvx__cli_verbs[i]->name;
    const char *near = rvx__cli_nearest(name, names);
    if (near)
        return rvx__cli_usage_error(NULL, "there is no verb '%s'; did you mean '%s'?", name, near);
    return rvx__cli_usage_error(NULL, "there is no verb '%s'", name);
}

int main(int argument_count, char **arguments)
{
    if (argument_count < 2)
        return rvx__cli_usage_error(NULL, "usage: revoxel VERB ...");
    const char *name = arguments[1];
    if (asks_for_help(name))
        return rvx__cli_help();
    if (strcmp(name, "--version") == 0) {
        printf("revoxel %s\n", rvx_version());
        return rvx__cli_finish(RVX_OK, NULL, NULL);
    }
    const rvx_cli_verb *verb = find(name);
    if (!verb)
        return unknown(name);
    int used = 2;
    const rvx_cli_verb *part = argument_count > 2 ? find_part(verb, arguments[2]) : NULL;
    if (part) {
        verb = part;
        used = 3;
    }
    for (int i = used; i < argument_count && strcmp(arguments[i], "--") != 0; i++)
        if (asks_for_help(arguments[i]))
            return rvx__cli_help_verb(verb);
    return verb->run(argument_count - used, arguments + used);
}
