/* Safetensors and checkpoints: round trip, every malformed header refused, every flipped byte and
 * every cut found, and the previous file kept. */
#include "engine/base/file.h"
#include "engine/run/checkpoint.h"
#include "tap.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static rvx_error error;
static char folder[] = "/tmp/rvx-store-XXXXXX", path[RVX_PATH_BYTES];
static const char *const kinds[] = {RVX_KIND_CHECKPOINT, NULL};

static float weights[2 * 3 * 5];
static uint8_t bytes_data[3] = {1, 2, 3};
static uint16_t halves[4] = {0x3F80, 0xBF80, 0x7FC0, 0};
static int64_t step = INT64_MAX - 5;
static double best = 0.1;

static rvx_status save(float first)
{
    weights[0] = first;
    const rvx_stored_tensor tensors[] = {
        {.name = "mask", .type = RVX_STORED_U8, .axes = 1, .size = {3}, .data = bytes_data},
        {.name = "enc1/weight",
         .type = RVX_STORED_F32,
         .axes = 3,
         .size = {2, 3, 5},
         .data = weights},
        {.name = "half", .type = RVX_STORED_BF16, .axes = 2, .size = {2, 2}, .data = halves},
        {.name = "empty", .type = RVX_STORED_F32, .axes = 2, .size = {0, 7}},
        rvx__stored_integer("step", &step),
        rvx__stored_number("best", &best),
    };
    const rvx_metadata metadata[] = {{RVX_PLAN_KEY, "{\"a\": \"q\\\"uote\n\"}"}, {"note", ""}};
    return rvx__checkpoint_save(path, RVX_KIND_CHECKPOINT, tensors, 6, metadata, 2, &error);
}

static void test_round_trip(void)
{
    for (int i = 0; i < 30; i++)
        weights[i] = (float)i * 0.25f;
    TAP_OK(save(7) == RVX_OK);
    rvx_safetensors *file;
    TAP_OK(rvx__checkpoint_open(&file, path, kinds, &error) == RVX_OK);
    if (!file)
        return;
    TAP_OK(rvx__safetensors_count(file) == 6);
    float back[30];
    int64_t size[3] = {2, 3, 5}, back_step = 0;
    double back_best = 0;
    uint16_t back_halves[4];
    TAP_OK(rvx__safetensors_load(file, "enc1/weight", RVX_STORED_F32, 3, size, back, &error) ==
           RVX_OK);
    TAP_OK(memcmp(back, weights, sizeof back) == 0);
    TAP_OK(rvx__safetensors_load(file, "step", RVX_STORED_I64, 0, NULL, &back_step, &error) ==
               RVX_OK &&
           back_step == step);
    TAP_OK(rvx__safetensors_load(file, "best", RVX_STORED_F64, 0, NULL, &back_best, &error) ==
               RVX_OK &&
           back_best == 0.1);
    const rvx_stored_tensor *half = rvx__safetensors_find(file, "half");
    TAP_OK(half && half->bytes == 8 &&
           rvx__safetensors_read(file, half, back_halves, &error) == RVX_OK &&
           memcmp(back_halves, halves, 8) == 0);
    TAP_OK(!strcmp(rvx__safetensors_metadata(file, RVX_PLAN_KEY), "{\"a\": \"q\\\"uote\n\"}"));
    TAP_OK(!strcmp(rvx__safetensors_metadata(file, "note"), "") &&
           !rvx__safetensors_metadata(file, "nothing"));
    /* Alignment: by falling element size. */
    int aligned = 1;
    for (int64_t i = 0; i < 6; i++) {
        const rvx_stored_tensor *tensor = rvx__safetensors_at(file, i);
        aligned &= tensor->offset_bytes % rvx__stored_type_bytes(tensor->type) == 0;
    }
    TAP_OK(aligned);
    size[2] = 4;
    TAP_OK(rvx__safetensors_load(file, "enc1/weight", RVX_STORED_F32, 3, size, back, &error) ==
           RVX_ERROR_FORMAT);
    TAP_OK(
        strstr(error.message, "tensor 'enc1/weight' expected F32 [2, 3, 4], found F32 [2, 3, 5]"));
    TAP_OK(rvx__safetensors_load(file, "enc9", RVX_STORED_F32, 3, size, back, &error) ==
               RVX_ERROR_FORMAT &&
           strstr(error.message, "has no tensor 'enc9'"));
    rvx__safetensors_close(file);
    const char *const others[] = {RVX_KIND_MODEL, NULL};
    TAP_OK(rvx__checkpoint_open(&file, path, others, &error) == RVX_ERROR_FORMAT && !file);
    TAP_OK(strstr(error.message, "expected \"model 1\", found checkpoint 1") != NULL);
}

static void test_write_refusals(void)
{
    char other[80];
    snprintf(other, sizeof other, "%s/other", folder);
    rvx_stored_tensor twice[2] = {rvx__stored_integer("a", &step), rvx__stored_integer("a", &step)};
    TAP_OK(rvx__safetensors_write(other, twice, 2, NULL, 0, &error) == RVX_ERROR_ARGUMENT);
    rvx_stored_tensor huge = {.name = "h",
                              .axes = 2,
                              .size = {1LL << 40, 1LL << 40},
                              .type = RVX_STORED_F32,
                              .data = &step};
    TAP_OK(rvx__safetensors_write(other, &huge, 1, NULL, 0, &error) == RVX_ERROR_ARGUMENT);
    rvx_metadata keys[2] = {{"k", "1"}, {"k", "2"}}, checksum = {RVX_CHECKSUM_KEY, "x"};
    TAP_OK(rvx__safetensors_write(other, twice, 1, keys, 2, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(rvx__safetensors_write(other, twice, 1, &checksum, 1, &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(!rvx__path_exists(other));
    TAP_OK(rvx__safetensors_write(other, NULL, 0, NULL, 0, &error) == RVX_OK);
    rvx_safetensors *file;
    TAP_OK(rvx__safetensors_open(&file, other, &error) == RVX_OK);
    TAP_OK(rvx__safetensors_count(file) == 0 &&
           rvx__safetensors_verify(file, true, &error) == RVX_OK);
    rvx__safetensors_close(file);
}

/* Every single-bit flip and every cut of a checkpoint is an error, and none is a crash. */
static void test_damage(void)
{
    char *good, damaged_path[80];
    int64_t count;
    snprintf(damaged_path, sizeof damaged_path, "%s/damaged", folder);
    TAP_OK(rvx__file_read_all(&good, &count, path, 1 << 20, &error) == RVX_OK);
    int found = 1, explained = 1;
    FILE *damaged = fopen(damaged_path, "w+");
    if (!damaged)
        return;
    fwrite(good, 1, (size_t)count, damaged);
    fflush(damaged);
    for (int64_t i = 0; i < count; i++) {
        char flipped = (char)(good[i] ^ (1 << i % 8));
        rvx_safetensors *file = NULL;
        found &= pwrite(fileno(damaged), &flipped, 1, i) == 1;
        found &= rvx__checkpoint_open(&file, damaged_path, kinds, &error) == RVX_ERROR_FORMAT;
        explained &= strstr(error.message, "damaged") != NULL && !file;
        found &= pwrite(fileno(damaged), good + i, 1, i) == 1;
    }
    TAP_OK(found && explained);
    for (int64_t length = count - 1; length >= 0; length--) {
        rvx_safetensors *file = NULL;
        found &= ftruncate(fileno(damaged), length) == 0;
        found &= rvx__checkpoint_open(&file, damaged_path, kinds, &error) == RVX_ERROR_FORMAT;
        explained &= strstr(error.message, "/damaged: ") != NULL && !file;
    }
    TAP_OK(found && explained);
    fclose(damaged);
    free(good);
}

static void test_keeps_previous(void)
{
    struct rlimit kept, limit;
    rvx_safetensors *file;
    float first = 0;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &kept);
    limit = kept;
    limit.rlim_cur = 300;
    setrlimit(RLIMIT_FSIZE, &limit);
    TAP_OK(save(8) == RVX_ERROR_IO && strstr(error.message, "File too large"));
    setrlimit(RLIMIT_FSIZE, &kept);
    TAP_OK(rvx__checkpoint_open(&file, path, kinds, &error) == RVX_OK);
    const rvx_stored_tensor *tensor = file ? rvx__safetensors_find(file, "enc1/weight") : NULL;
    float back[30] = {0};
    if (tensor && rvx__safetensors_read(file, tensor, back, &error) == RVX_OK)
        first = back[0];
    TAP_OK(first == 7);
    rvx__safetensors_close(file);
    TAP_OK(save(9) == RVX_OK && rvx__checkpoint_open(&file, path, kinds, &error) == RVX_OK);
    rvx__safetensors_close(file);
}

/* kill -9 at any moment of a save leaves a good file, and its leftovers go with the next save. */
static void test_killed(void)
{
    int good = 1, tidy = 0;
    for (int round = 0; round < 40; round++) {
        pid_t child = fork();
        if (child == 0)
            for (float first = 0;; first++)
                save(first);
        usleep((useconds_t)(500 + round * 137));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        rvx_safetensors *file;
        good &= rvx__checkpoint_open(&file, path, kinds, &error) == RVX_OK;
        rvx__safetensors_close(file);
    }
    TAP_OK(good);
    TAP_OK(save(1) == RVX_OK);
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        tidy += strstr(entry->d_name, ".rvx-") != NULL;
    if (entries)
        closedir(entries);
    TAP_OK(entries && tidy == 0);
}

static int parses(const char *header, int64_t data_bytes, const char *expected)
{
    rvx_safetensors *file = NULL;
    rvx_status status =
        rvx__safetensors_parse(&file, header, (int64_t)strlen(header), data_bytes, "f", &error);
    int passed = expected ? status == RVX_ERROR_FORMAT && !file && strstr(error.message, expected)
                          : status == RVX_OK;
    if (!passed)
        printf("# %s: %s\n", header, error.message);
    rvx__safetensors_close(file);
    return passed;
}

#define ONE(dtype, shape, offsets)                                                                 \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_headers(void)
{
    TAP_OK(parses("{}", 0, NULL));
    TAP_OK(parses("{}   ", 0, NULL));
    TAP_OK(parses(" {}", 0, "does not begin with '{'"));
    TAP_OK(parses("", 0, "does not begin with '{'"));
    TAP_OK(parses("[]", 0, "does not begin with '{'"));
    TAP_OK(parses("{", 0, "not valid JSON"));
    TAP_OK(parses("{}x", 0, "not valid JSON"));
    TAP_OK(parses("{}", 1, "describes 0 bytes of data, the file has 1"));
    TAP_OK(parses("{\"__metadata__\":{\"k\":1}}", 0, "expected a string"));
    TAP_OK(parses("{\"__metadata__\":3}", 0, "expected object"));
    TAP_OK(parses(ONE("F32", "[2]", "[0,8]") "}", 8, NULL));
    TAP_OK(parses(ONE("F32", "[]", "[0,4]") "}", 4, NULL));
    TAP_OK(parses(ONE("F33", "[2]", "[0,8]") "}", 8, "field 'a.dtype' expected"));
    TAP_OK(parses(ONE("F32", "[3]", "[0,8]") "}", 8, "expected 12 bytes by dtype and shape"));
    TAP_OK(parses(ONE("F32", "[2]", "[0,8]") "}", 7, "field 'a.data_offsets[1]' expected integer"));
    TAP_OK(parses(ONE("F32", "[2]", "[0,8]") "}", 9, "describes 8 bytes of data"));
    TAP_OK(parses(ONE("F32", "[2]", "[1,9]") "}", 9, "begins at byte 1 of the data, expected 0"));
    TAP_OK(parses(ONE("F32", "[2]", "[8,0]") "}", 8, "expected integer in [8, 8]"));
    TAP_OK(parses(ONE("F32", "[-2]", "[0,8]") "}", 8, "field 'a.shape[0]'"));
    TAP_OK(parses(ONE("F32", "[2.0]", "[0,8]") "}", 8, "field 'a.shape[0]'"));
    TAP_OK(parses(ONE("F32", "[9223372036854775807,4]", "[0,8]") "}", 8, "more elements"));
    TAP_OK(parses(ONE("F64", "[2305843009213693952]", "[0,0]") "}", 0, "more elements"));
    TAP_OK(parses(ONE("F32", "[4294967296,4294967296,0]", "[0,0]") "}", 0, "more elements"));
    TAP_OK(parses(ONE("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "array of 0 to 8"));
    TAP_OK(parses(ONE("U8", "[1]", "[0,1]") ",\"a\":{}}", 1, "duplicate"));
    TAP_OK(parses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "field 'a.data_offsets'"));
    TAP_OK(parses("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
                  "field 'a.x' is not known"));
#define TWO(first, second)                                                                         \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" first                               \
    "},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" second "}}"
    TAP_OK(parses(TWO("[2,4]", "[0,2]"), 4, NULL));
    TAP_OK(parses(TWO("[0,2]", "[1,3]"), 3, "neither overlap nor leave a hole"));
    TAP_OK(parses(TWO("[0,2]", "[0,2]"), 2, "neither overlap nor leave a hole"));
    TAP_OK(parses(TWO("[0,2]", "[3,5]"), 5, "neither overlap nor leave a hole"));
    char name[80];
    snprintf(name, sizeof name, "%s/wrong", folder);
    rvx_safetensors *file;
    rvx__file_write(name, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, &error);
    TAP_OK(rvx__safetensors_open(&file, name, &error) == RVX_ERROR_FORMAT && !file);
    TAP_OK(strstr(error.message, "header length expected at most 100000000") != NULL);
    TAP_OK(rvx__safetensors_open(&file, folder, &error) == RVX_ERROR_IO && !file);
    TAP_OK(rvx__safetensors_open(&file, "/nowhere", &error) == RVX_ERROR_IO && !file);
}

/* For test_safetensors_numpy.py: `write PATH` stores the sample, `list PATH` prints what a file
 * holds: name, type, shape, sum of bytes. */
static int tool(const char *verb, const char *file_path)
{
    rvx_safetensors *file = NULL;
    snprintf(path, sizeof path, "%s", file_path);
    rvx_status status =
        strcmp(verb, "write") == 0 ? save(1.5f) : rvx__safetensors_open(&file, file_path, &error);
    for (int64_t i = 0; file && i < rvx__safetensors_count(file); i++) {
        const rvx_stored_tensor *tensor = rvx__safetensors_at(file, i);
        unsigned char *data = malloc((size_t)tensor->bytes + 1);
        long sum = 0;
        if (data && status == RVX_OK)
            status = rvx__safetensors_read(file, tensor, data, &error);
        for (int64_t j = 0; data && j < tensor->bytes; j++)
            sum += data[j] * (long)(j % 251 + 1);
        printf("%s %s", tensor->name, rvx__stored_type_name(tensor->type));
        for (int axis = 0; axis < tensor->axes; axis++)
            printf(" %lld", (long long)tensor->size[axis]);
        printf(" = %ld\n", sum);
        free(data);
    }
    rvx__safetensors_close(file);
    if (status != RVX_OK)
        fprintf(stderr, "%s\n", error.message);
    return status != RVX_OK;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return tool(argv[1], argv[2]);
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/latest.safetensors", folder);
    test_round_trip();
    test_write_refusals();
    test_damage();
    test_keeps_previous();
    test_killed();
    test_headers();
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    TAP_OK(system(command) == 0);
    return tap_done();
}
