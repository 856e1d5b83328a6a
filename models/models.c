/* The table of networks: see models.h. */
#include "models/models.h"

#include <string.h>

const rvx_model *const rvx__models[] = {
#define RVX_MODEL(name) &rvx__model_##name,
#include "models/models.def"
#undef RVX_MODEL
    NULL};

const rvx_model *rvx__model_find(const char *name)
{
    for (int i = 0; rvx__models[i]; i++)
        if (strcmp(rvx__models[i]->name, name) == 0)
            return rvx__models[i];
    return NULL;
}
