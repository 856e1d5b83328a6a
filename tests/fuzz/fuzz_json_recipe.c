/* Any bytes as a plan; one that is accepted must survive writing and reading unchanged. */
#include "engine/run/recipe.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rvx_error error;
    json_t *root;
    rvx_recipe recipe, again;
    if (rvx__json_parse(&root, (const char *)data, (int64_t)size, "fuzz", &error) != RVX_OK)
        return 0;
    rvx_status status = rvx__recipe_from_json(&recipe, root, "fuzz", &error);
    json_decref(root);
    if (status != RVX_OK)
        return 0;
    rvx_text first = {0}, second = {0};
    if (rvx__recipe_print(&first, &recipe, &error) != RVX_OK ||
        rvx__recipe_parse(&again, first.data, "fuzz", &error) != RVX_OK ||
        rvx__recipe_print(&second, &again, &error) != RVX_OK ||
        strcmp(first.data, second.data) != 0)
        abort();
    rvx__text_free(&first);
    rvx__text_free(&second);
    rvx__recipe_free(&recipe);
    rvx__recipe_free(&again);
    return 0;
}
