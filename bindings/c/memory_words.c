/* Memory policy and storage in the words of plan.json. */
#include "bindings/c/facade.h"

#include <string.h>

static const char *const policy_words[] = {"auto", "store", "checkpoint", "reversible", NULL};
static const char *const storage_words[] = {"f32", "bf16", NULL};
static const char *const streams_words[] = {"i16", "f32", "bf16", NULL};

/* Index among the words, -1 where it is none of them. */
static int find(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return -1;
}

static rvx_status check_word(const char *name, const char *const *words, const char *word,
                             rvx_error *error)
{
    char list[64] = "";
    if (!word || find(words, word) >= 0)
        return RVX_OK;
    for (int i = 0; words[i]; i++) {
        strncat(list, i == 0 ? "" : words[i + 1] ? ", " : " or ", sizeof list - strlen(list) - 1);
        strncat(list, words[i], sizeof list - strlen(list) - 1);
    }
    return rvx__fail(error, RVX_ERROR_ARGUMENT, "%s expected %s, found '%s'", name, list, word);
}

rvx_status rvx__facade_memory_check(const rvx_memory_words *words, rvx_error *error)
{
    rvx_status status;
    RVX_TRY(check_word("memory", policy_words, words->policy, error));
    RVX_TRY(check_word("storage", storage_words, words->storage, error));
    RVX_TRY(check_word("streams", streams_words, words->streams, error));
    if (words->grid_log2 < 0 || words->grid_log2 > 15)
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "grid_log2 expected 1 to 15, found %d",
                           words->grid_log2);
    else if (words->budget_bytes < 0)
        status = rvx__fail(error, RVX_ERROR_ARGUMENT, "budget_bytes expected 0 or more, found %lld",
                           (long long)words->budget_bytes);
cleanup:
    return status;
}

void rvx__facade_memory_apply(rvx_recipe *recipe, const rvx_memory_words *words)
{
    if (words->policy)
        recipe->memory.policy = find(policy_words, words->policy);
    if (words->storage)
        recipe->memory.storage = find(storage_words, words->storage);
    if (words->streams)
        recipe->memory.streams = find(streams_words, words->streams);
    if (words->grid_log2)
        recipe->memory.grid_log2 = words->grid_log2;
    if (words->budget_bytes)
        recipe->memory.budget_bytes = words->budget_bytes;
}

const char *rvx__facade_memory_contradiction(const rvx_recipe *recipe,
                                             const rvx_memory_words *words)
{
    rvx_recipe said = {.memory = recipe->memory};
    rvx__facade_memory_apply(&said, words);
    if (said.memory.policy != recipe->memory.policy)
        return "memory.policy";
    if (said.memory.storage != recipe->memory.storage)
        return "memory.storage";
    if (said.memory.streams != recipe->memory.streams)
        return "memory.streams";
    if (said.memory.grid_log2 != recipe->memory.grid_log2)
        return "memory.grid_log2";
    return said.memory.budget_bytes != recipe->memory.budget_bytes ? "memory.budget_bytes" : NULL;
}
