/* Atomic output, bounded reading, folders: the old content survives every failure and nothing is
 * left beside the target. */
#include "engine/base/file.h"
#include "tap.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/rvx-file-XXXXXX";

static const char *at(const char *name)
{
    static char paths[4][RVX_PATH_BYTES];
    static int next;
    char *path = paths[next++ % 4];
    rvx__path_join(path, folder, name, NULL);
    return path;
}

static int has_content(const char *path, const char *expected)
{
    char *data;
    int64_t bytes;
    if (rvx__file_read_all(&data, &bytes, path, 1 << 20, NULL) != RVX_OK)
        return 0;
    int same = bytes == (int64_t)strlen(expected) && memcmp(data, expected, (size_t)bytes) == 0;
    free(data);
    return same;
}

/* Entries of the folder, hidden ones included. */
static int entry_count(void)
{
    char command[256], text[32] = "";
    snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
    FILE *pipe = popen(command, "r");
    if (pipe && !fgets(text, sizeof text, pipe))
        text[0] = 0;
    if (pipe)
        pclose(pipe);
    return atoi(text);
}

static void test_commit(void)
{
    rvx_error error;
    rvx_output *output;
    TAP_OK(rvx__file_write(at("a.txt"), "old", 3, &error) == RVX_OK);
    TAP_OK(has_content(at("a.txt"), "old"));
    TAP_OK(rvx__output_create(&output, at("a.txt"), &error) == RVX_OK);
    TAP_OK(rvx__output_write(output, "new content", 11, &error) == RVX_OK);
    TAP_OK(rvx__output_write_at(output, 0, "NEW", 3, &error) == RVX_OK);
    TAP_OK(rvx__output_write(output, "!", 1, &error) == RVX_OK);
    TAP_OK(rvx__output_bytes(output) == 12);
    TAP_OK(has_content(at("a.txt"), "old"));
    TAP_OK(entry_count() == 2);
    TAP_OK(rvx__output_commit(output, &error) == RVX_OK);
    TAP_OK(has_content(at("a.txt"), "NEW content!"));
    TAP_OK(entry_count() == 1);
    TAP_OK(rvx__output_create(&output, at("a.txt"), &error) == RVX_OK);
    rvx__output_abandon(output);
    rvx__output_abandon(NULL);
    TAP_OK(has_content(at("a.txt"), "NEW content!") && entry_count() == 1);
    /* A file larger than the buffer, in uneven pieces. */
    enum { LENGTH = 300001 };
    char *data = malloc(LENGTH), *back;
    int64_t bytes;
    for (int i = 0; i < LENGTH; i++)
        data[i] = (char)(i * 7 + i / 251);
    TAP_OK(rvx__output_create(&output, at("b.bin"), &error) == RVX_OK);
    for (int first = 0, piece = 1; first < LENGTH; first += piece, piece = piece * 3 % 99991 + 1)
        rvx__output_write(output, data + first, first + piece < LENGTH ? piece : LENGTH - first,
                          &error);
    TAP_OK(rvx__output_commit(output, &error) == RVX_OK);
    TAP_OK(rvx__file_read_all(&back, &bytes, at("b.bin"), LENGTH, &error) == RVX_OK);
    TAP_OK(bytes == LENGTH && memcmp(back, data, LENGTH) == 0 && back[LENGTH] == 0);
    free(back);
    TAP_OK(rvx__file_read_all(&back, &bytes, at("b.bin"), LENGTH - 1, &error) == RVX_ERROR_FORMAT);
    TAP_OK(back == NULL && strstr(error.message, "300001 bytes"));
    free(data);
    unlink(at("b.bin"));
}

/* A full disk, by way of the file size limit: the write fails, the old file stays. */
static void test_full(void)
{
    rvx_error error;
    rvx_output *output;
    struct rlimit kept, limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &kept);
    limit = kept;
    limit.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &limit);
    char *data = calloc(1, 1 << 20);
    TAP_OK(rvx__output_create(&output, at("a.txt"), &error) == RVX_OK);
    TAP_OK(rvx__output_write(output, data, 1 << 20, &error) == RVX_ERROR_IO);
    TAP_OK(strstr(error.message, "a.txt") && strstr(error.message, "File too large"));
    TAP_OK(rvx__output_write(output, data, 1, &error) == RVX_ERROR_IO);
    TAP_OK(rvx__output_commit(output, &error) == RVX_ERROR_IO);
    TAP_OK(strstr(error.message, "File too large") != NULL);
    setrlimit(RLIMIT_FSIZE, &kept);
    TAP_OK(has_content(at("a.txt"), "NEW content!") && entry_count() == 1);
    free(data);
}

static void test_targets(void)
{
    rvx_error error;
    rvx_output *output;
    TAP_OK(rvx__output_create(&output, at("missing/a.txt"), &error) == RVX_ERROR_IO);
    TAP_OK(strstr(error.message, "No such file") && !output);
    TAP_OK(rvx__output_create(&output, folder, &error) == RVX_ERROR_IO);
    TAP_OK(rvx__output_create(&output, "/dev/null", &error) == RVX_ERROR_IO);
    TAP_OK(strstr(error.message, "not a regular file") != NULL);
    TAP_OK(rvx__output_create(&output, "", &error) == RVX_ERROR_IO);
    /* A link stays a link. */
    struct stat info;
    TAP_OK(symlink(at("a.txt"), at("link")) == 0);
    TAP_OK(rvx__file_write(at("link"), "linked", 6, &error) == RVX_OK);
    TAP_OK(lstat(at("link"), &info) == 0 && S_ISLNK(info.st_mode));
    TAP_OK(has_content(at("a.txt"), "linked"));
    unlink(at("link"));
    /* Names as long as the file system takes. */
    char name[256];
    memset(name, 'n', 255);
    name[255] = 0;
    TAP_OK(rvx__file_write(at(name), "x", 1, &error) == RVX_OK && has_content(at(name), "x"));
    unlink(at(name));
    /* Two writers at once: both finish, the later commit wins. */
    rvx_output *other;
    TAP_OK(rvx__output_create(&output, at("a.txt"), &error) == RVX_OK);
    TAP_OK(rvx__output_create(&other, at("a.txt"), &error) == RVX_OK);
    rvx__output_write(output, "first", 5, &error);
    rvx__output_write(other, "second", 6, &error);
    TAP_OK(rvx__output_commit(output, &error) == RVX_OK && has_content(at("a.txt"), "first"));
    TAP_OK(rvx__output_commit(other, &error) == RVX_OK && has_content(at("a.txt"), "second"));
    TAP_OK(entry_count() == 1);
}

/* What a killed writer leaves is removed by the next one. */
static void test_killed(void)
{
    pid_t child = fork();
    if (child == 0) {
        rvx_output *output;
        rvx__output_create(&output, at("a.txt"), NULL);
        kill(getpid(), SIGKILL);
    }
    int result;
    waitpid(child, &result, 0);
    TAP_OK(WIFSIGNALED(result) && entry_count() == 2);
    TAP_OK(has_content(at("a.txt"), "second"));
    TAP_OK(rvx__file_write(at("a.txt"), "after", 5, NULL) == RVX_OK);
    TAP_OK(has_content(at("a.txt"), "after") && entry_count() == 1);
}

static void test_folders(void)
{
    rvx_error error;
    rvx_names names;
    char path[RVX_PATH_BYTES];
    TAP_OK(rvx__directory_create(at("deep/er//still/"), &error) == RVX_OK);
    TAP_OK(rvx__directory_create(at("deep/er/still"), &error) == RVX_OK);
    TAP_OK(rvx__path_is_directory(at("deep/er/still")) && !rvx__path_is_file(at("deep")));
    TAP_OK(rvx__directory_create(at("a.txt/x"), &error) == RVX_ERROR_IO);
    TAP_OK(rvx__directory_create(at("a.txt"), &error) == RVX_ERROR_IO);
    TAP_OK(rvx__directory_create("", &error) == RVX_ERROR_IO);
    rvx__file_write(at("deep/c.gz"), "", 0, NULL);
    rvx__file_write(at("deep/B.gz"), "", 0, NULL);
    rvx__file_write(at("deep/.hidden.gz"), "", 0, NULL);
    TAP_OK(rvx__directory_list(&names, at("deep"), ".gz", &error) == RVX_OK);
    TAP_OK(names.count == 2 && !strcmp(names.names[0], "B.gz") && !strcmp(names.names[1], "c.gz"));
    rvx__names_free(&names);
    TAP_OK(rvx__directory_list(&names, at("deep"), NULL, &error) == RVX_OK && names.count == 3);
    rvx__names_free(&names);
    TAP_OK(rvx__directory_list(&names, at("nowhere"), NULL, &error) == RVX_ERROR_IO);
    TAP_OK(names.count == 0 && strstr(error.message, "nowhere"));
    TAP_OK(rvx__path_join(path, "a/", "b", &error) == RVX_OK && !strcmp(path, "a/b"));
    TAP_OK(rvx__path_join(path, "", "b", &error) == RVX_OK && !strcmp(path, "b"));
    TAP_OK(rvx__path_join(path, "a", "/b", &error) == RVX_OK && !strcmp(path, "/b"));
    char longest[RVX_PATH_BYTES];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    TAP_OK(rvx__path_join(path, longest, "b", &error) == RVX_ERROR_ARGUMENT);
    TAP_OK(rvx__path_parent(path, "/a", &error) == RVX_OK && !strcmp(path, "/"));
    TAP_OK(rvx__path_parent(path, "a", &error) == RVX_OK && !strcmp(path, "."));
    TAP_OK(rvx__path_parent(path, "b/a", &error) == RVX_OK && !strcmp(path, "b"));
    TAP_OK(!strcmp(rvx__path_name("b/a"), "a") && !strcmp(rvx__path_name("a"), "a"));
    TAP_OK(rvx__file_remove(at("deep/c.gz"), &error) == RVX_OK);
    TAP_OK(rvx__file_remove(at("deep/c.gz"), &error) == RVX_OK);
    char *data;
    int64_t bytes;
    TAP_OK(rvx__file_read_all(&data, &bytes, at("deep"), 10, &error) == RVX_ERROR_IO && !data);
    TAP_OK(rvx__file_read_all(&data, &bytes, at("none"), 10, &error) == RVX_ERROR_IO && !data);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    test_commit();
    test_full();
    test_targets();
    test_killed();
    test_folders();
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    TAP_OK(system(command) == 0);
    return tap_done();
}
