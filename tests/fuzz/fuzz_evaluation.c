/* Any bytes as the JSON of an evaluation and as a dataset.json with classes: what is accepted
 * survives writing and reading, and can be tabled. */
#include "engine/segment/evaluate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void evaluation_check(const rvx_evaluation *e)
{
    rvx_text table = {0};
    rvx_evaluation again;
    rvx_error error;
    json_t *tree = rvx__evaluation_to_json(e);
    if (!tree || rvx__evaluation_from_json(&again, tree, "fuzz", &error) != RVX_OK ||
        again.case_count != e->case_count || again.list.count != e->list.count)
        abort();
    rvx__evaluation_table(&table, &again);
    json_decref(tree);
    rvx__text_free(&table);
    rvx__evaluation_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rvx_error error;
    json_t *root;
    rvx_evaluation e;
    rvx_class_list list;
    if (rvx__json_parse(&root, (const char *)data, (int64_t)size, "fuzz", &error) != RVX_OK)
        return 0;
    if (rvx__evaluation_from_json(&e, root, "fuzz", &error) == RVX_OK) {
        evaluation_check(&e);
        rvx__evaluation_free(&e);
    }
    if (rvx__class_list_from_json(&list, root, "fuzz", &error) == RVX_OK) {
        if (list.count < 1 || !list.declared[0])
            abort();
        rvx__class_list_free(&list);
    }
    json_decref(root);
    return 0;
}
