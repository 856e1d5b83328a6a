/* The help texts, printed from the tables of the verbs. */
#include "bindings/cli/cli.h"

#include <stdio.h>
#include <string.h>

int rvx__cli_help(void)
{
    printf("revoxel %s: trains and runs 3D medical segmentation networks on whole volumes\n\n"
           "usage: revoxel VERB ...\n\n",
           rvx_version());
    for (int i = 0; rvx__cli_verbs[i]; i++)
        printf("  %-10s %s\n", rvx__cli_verbs[i]->name, rvx__cli_verbs[i]->summary);
    printf("\n'revoxel VERB --help' explains one verb; 'revoxel --version' prints the version.\n"
           "Exit status: 0 done, 1 the work failed, 2 the command line was wrong, 130 stopped by "
           "Ctrl-C.\n");
    return rvx__cli_finish(RVX_OK, NULL, NULL);
}

/* Help of several lines is indented as its first line. */
static void print_option(const rvx_cli_option *option)
{
    enum { COLUMN = 26 };
    char head[64];
    snprintf(head, sizeof head, "%s%s%s", option->name, option->value ? " " : "",
             option->value ? option->value : "");
    printf("  %-*s", COLUMN - 2, head);
    if (strlen(head) > COLUMN - 3)
        printf("\n%*s", COLUMN, "");
    for (const char *line = option->help; line;) {
        const char *end = strchr(line, '\n');
        printf("%.*s%s\n", (int)(end ? end - line : (ptrdiff_t)strlen(line)), line,
               !end && option->required ? " (required)" : "");
        line = end ? end + 1 : NULL;
        if (line)
            printf("%*s", COLUMN, "");
    }
}

int rvx__cli_help_verb(const rvx_cli_verb *verb)
{
    printf("revoxel %s: %s\n\nusage: revoxel %s %s\n\n%s\n\n", verb->name, verb->summary,
           verb->name, verb->usage, verb->details);
    for (const rvx_cli_option *option = verb->options; option->name; option++)
        print_option(option);
    printf("%sexample: %s\n", verb->options->name ? "\n" : "", verb->example);
    return rvx__cli_finish(RVX_OK, NULL, NULL);
}
