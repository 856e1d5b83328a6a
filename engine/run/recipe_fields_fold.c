/* The case lists of the plan, and the appending that all array fields share: see recipe_fields.h.
 */
#include "engine/run/recipe_fields.h"

#include <stdlib.h>
#include <string.h>

enum { CASES_MAX = 1 << 20 };

json_t *rvx__json_append(json_t *array, json_t *value)
{
    if (!array)
        json_decref(value);
    if (array && json_array_append_new(array, value)) {
        json_decref(array);
        return NULL;
    }
    return array;
}

static rvx_status read_case_list(rvx_names *names, rvx_recipe *recipe, const rvx_json *json,
                                 rvx_error *error)
{
    rvx_status status = RVX_OK;
    int64_t count = 0;
    if (rvx__json_null(json))
        return RVX_OK;
    RVX_TRY(rvx__json_array(&count, json, 0, CASES_MAX, error));
    recipe->fold.listed = true;
    names->names = calloc((size_t)count + 1, sizeof *names->names);
    for (int64_t i = 0; i < count && names->names; i++) {
        rvx_json element = rvx__json_element(json, i);
        const char *name = NULL;
        RVX_TRY(rvx__json_string(&name, &element, 256, error));
        names->names[i] = strdup(name);
        if (!names->names[i])
            break;
        names->count = i + 1;
    }
    if (!names->names || names->count < count)
        status =
            rvx__fail(error, RVX_ERROR_MEMORY, "no memory for %lld case names", (long long)count);
cleanup:
    return status;
}

static json_t *write_case_list(const rvx_names *names, bool listed)
{
    if (!listed)
        return json_null();
    json_t *array = json_array();
    for (int64_t i = 0; i < names->count; i++)
        array = rvx__json_append(array, json_string(names->names[i]));
    return array;
}

rvx_status rvx__recipe_read_train(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    return read_case_list(&recipe->fold.train, recipe, json, error);
}

json_t *rvx__recipe_write_train(const rvx_recipe *recipe)
{
    return write_case_list(&recipe->fold.train, recipe->fold.listed);
}

rvx_status rvx__recipe_read_validation(rvx_recipe *recipe, const rvx_json *json, rvx_error *error)
{
    return read_case_list(&recipe->fold.validation, recipe, json, error);
}

json_t *rvx__recipe_write_validation(const rvx_recipe *recipe)
{
    return write_case_list(&recipe->fold.validation, recipe->fold.listed);
}
