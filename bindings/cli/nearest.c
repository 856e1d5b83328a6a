/* Which name was meant: edit distance with neighbours swapped counting as one mistake
 * (Damerau 1964). The engine has such a search too; the command line sees only the public header.
 */
#include "bindings/cli/cli.h"

#include <string.h>

enum { NAME_BYTES = 64 };

/* Three rows of the table at a time. */
static int distance(const char *a, const char *b)
{
    int rows[3][NAME_BYTES + 1];
    size_t a_bytes = strlen(a), b_bytes = strlen(b);
    if (a_bytes > NAME_BYTES || b_bytes > NAME_BYTES)
        return NAME_BYTES;
    for (size_t j = 0; j <= b_bytes; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= a_bytes; i++) {
        int *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= b_bytes; j++) {
            int best = before[j - 1] + (a[i - 1] != b[j - 1]);
            best = before[j] + 1 < best ? before[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                earlier[j - 2] + 1 < best)
                best = earlier[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[a_bytes % 3][b_bytes];
}

const char *rvx__cli_nearest(const char *name, const char *const *names)
{
    const char *best = NULL;
    int best_distance = (int)(strlen(name) + 2) / 3 + 1; /* a third of the letters may be wrong */
    for (; *names; names++) {
        int d = distance(name, *names);
        if (d < best_distance) {
            best_distance = d;
            best = *names;
        }
    }
    return best;
}
