/* The table of networks. One line each in models.def; the row is rvx__model_<name> in
 * models/<name>.c or in the file of its family. Builders write plain mathematics; they know neither
 * memory nor devices. */
#ifndef RVX_MODELS_H
#define RVX_MODELS_H

#include "engine/graph/network.h"

#define RVX_MODEL(name) extern const rvx_model rvx__model_##name;
#include "models/models.def"
#undef RVX_MODEL

extern const rvx_model *const rvx__models[]; /* NULL-terminated */
const rvx_model *rvx__model_find(const char *name);

#endif
