/* The DICOM library's table, and the process in which it reads: see dicom_plugin.h. Owns: the two
 * ends of a socket. Invariant: every request gets one answer, or the process is found to have ended
 * (or is ended, where it takes too long) and the file is refused; GDCM runs nowhere else. */
#include "engine/volume/dicom_gdcm.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gdcmTrace.h>

namespace
{

enum { PATH_BYTES = 4096, ANSWER_SECONDS = 120 };

struct Request {
    bool voxels; /* else the header */
    char path[PATH_BYTES];
    rvx_dicom_image image; /* of voxels: what the header said; its frames stay behind */
    int64_t frame;
};

struct Answer {
    rvx_status status;
    rvx_error error;
    rvx_dicom_image image; /* its frames and segments follow, or the frame's voxels */
};

/* False where the other end is gone, or does not answer in time. */
bool receive(int socket, void *out, size_t bytes, int seconds)
{
    char *to = (char *)out;
    while (bytes) {
        struct pollfd wait = {socket, POLLIN, 0};
        const int ready = poll(&wait, 1, seconds < 0 ? -1 : seconds * 1000);
        if (ready < 0 && errno == EINTR)
            continue;
        const ssize_t got = ready > 0 ? recv(socket, to, bytes, 0) : 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        bytes -= (size_t)got;
    }
    return true;
}

bool give(int socket, const void *data, size_t bytes)
{
    const char *from = (const char *)data;
    while (bytes) {
        const ssize_t sent = send(socket, from, bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        from += sent;
        bytes -= (size_t)sent;
    }
    return true;
}

size_t frame_bytes(const rvx_dicom_image *image)
{
    return (size_t)(image->rows * image->columns * (image->bits_allocated / 8));
}

/* ---- The other process ------------------------------------------------------------------------
 */

struct Server {
    int socket;
    std::string open_path;
    rvx_dicom_pixels *pixels;
};

bool header_answer(Server *s, const Request &request)
{
    Answer answer = {};
    answer.status = rvx__gdcm_image_read(&answer.image, request.path, &answer.error);
    const bool sent = give(s->socket, &answer, sizeof answer) &&
                      give(s->socket, answer.image.frames,
                           (size_t)answer.image.frame_count * sizeof *answer.image.frames) &&
                      give(s->socket, answer.image.segments,
                           (size_t)answer.image.segment_count * sizeof *answer.image.segments);
    rvx__gdcm_image_free(&answer.image);
    return sent;
}

bool voxels_answer(Server *s, const Request &request)
{
    Answer answer = {};
    const size_t bytes = frame_bytes(&request.image);
    void *voxels = std::malloc(bytes);
    answer.status = voxels ? RVX_OK
                           : rvx__fail(&answer.error, RVX_ERROR_MEMORY, "%s: no memory for a frame",
                                       request.path);
    if (answer.status == RVX_OK && s->open_path != request.path) {
        rvx__gdcm_pixels_close(s->pixels);
        s->open_path = "";
        answer.status =
            rvx__gdcm_pixels_open(&s->pixels, request.path, &request.image, &answer.error);
        if (answer.status == RVX_OK)
            s->open_path = request.path;
    }
    if (answer.status == RVX_OK)
        answer.status = rvx__gdcm_pixels_read(s->pixels, voxels, request.frame, &answer.error);
    const bool sent = give(s->socket, &answer, sizeof answer) &&
                      (answer.status != RVX_OK || give(s->socket, voxels, bytes));
    std::free(voxels);
    return sent;
}

/* Quiet, without a core file, and with no other file of ours open. */
[[noreturn]] void serve(int socket)
{
    const struct rlimit none = {0, 0};
    const int nowhere = open("/dev/null", O_RDWR);
    Server server = {socket, "", nullptr};
    static Request request;
    setrlimit(RLIMIT_CORE, &none);
    for (int i = 0; i < 3 && nowhere >= 0; i++)
        dup2(nowhere, i);
    if (socket > 3)
        close_range(3, (unsigned)socket - 1, 0);
    close_range((unsigned)socket + 1, ~0u, 0);
    for (int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTERM, SIGINT})
        signal(number, SIG_DFL);
    gdcm::Trace::DebugOff();
    gdcm::Trace::WarningOff();
    gdcm::Trace::ErrorOff();
    while (receive(socket, &request, sizeof request, -1))
        if (!(request.voxels ? voxels_answer(&server, request) : header_answer(&server, request)))
            break;
    _exit(0);
}

} // namespace

/* ---- Our end ----------------------------------------------------------------------------------
 */

struct rvx_dicom_session {
    pid_t process; /* 0: none */
    int socket;
    Request request;
    Answer answer;
};

namespace
{

/* How it ended, in words. */
void process_end(rvx_dicom_session *s, char *how, size_t how_bytes)
{
    int state = 0;
    if (!s->process)
        return;
    close(s->socket);
    pid_t ended = waitpid(s->process, &state, WNOHANG);
    for (int i = 0; ended == 0 && i < 20; i++) { /* it may be on its way out */
        usleep(10000);
        ended = waitpid(s->process, &state, WNOHANG);
    }
    if (ended == 0) {
        kill(s->process, SIGKILL);
        waitpid(s->process, &state, 0);
        snprintf(how, how_bytes, "gave no answer for %d seconds", (int)ANSWER_SECONDS);
    } else if (ended > 0 && WIFSIGNALED(state)) {
        snprintf(how, how_bytes, "ended by signal %d (%s)", WTERMSIG(state),
                 WTERMSIG(state) == SIGABRT ? "a failed assertion" : strsignal(WTERMSIG(state)));
    } else {
        snprintf(how, how_bytes, "ended");
    }
    s->process = 0;
}

rvx_status process_start(rvx_dicom_session *s, rvx_error *error)
{
    int ends[2];
    if (s->process)
        return RVX_OK;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return rvx__fail(error, RVX_ERROR_IO, "DICOM: cannot make a socket: %s", strerror(errno));
    const pid_t process = fork();
    if (process == 0) {
        close(ends[0]);
        serve(ends[1]);
    }
    close(ends[1]);
    if (process < 0) {
        close(ends[0]);
        return rvx__fail(error, RVX_ERROR_IO, "DICOM: cannot start a process to read in: %s",
                         strerror(errno));
    }
    s->process = process;
    s->socket = ends[0];
    return RVX_OK;
}

/* Sends the request and takes the answer and `out` behind it, if `bytes` are known; a file that
 * ends the process is at fault. */
rvx_status ask(rvx_dicom_session *s, void *out, size_t bytes, rvx_error *error)
{
    char how[96] = "ended";
    rvx_status status = process_start(s, error);
    if (status != RVX_OK)
        return status;
    if (give(s->socket, &s->request, sizeof s->request) &&
        receive(s->socket, &s->answer, sizeof s->answer, ANSWER_SECONDS)) {
        if (s->answer.status != RVX_OK)
            return rvx__fail(error, s->answer.status, "%s", s->answer.error.message);
        if (receive(s->socket, out, bytes, ANSWER_SECONDS))
            return RVX_OK;
    }
    process_end(s, how, sizeof how);
    return rvx__fail(error, RVX_ERROR_FORMAT,
                     "%s: GDCM cannot read it: its process %s; the file is damaged, or of a kind "
                     "that GDCM does not know",
                     s->request.path, how);
}

rvx_status request_set(rvx_dicom_session *s, const char *path, rvx_error *error)
{
    std::memset(&s->request, 0, sizeof s->request);
    if (strlen(path) >= sizeof s->request.path)
        return rvx__fail(error, RVX_ERROR_ARGUMENT, "%.200s...: the path is too long", path);
    std::memcpy(s->request.path, path, strlen(path));
    return RVX_OK;
}

/* A list that follows an answer; NULL where it is empty. */
template <typename Entry>
rvx_status list_receive(rvx_dicom_session *s, Entry **list, int64_t count, const char *path,
                        rvx_error *error)
{
    *list = nullptr;
    if (!count)
        return RVX_OK;
    *list = (Entry *)std::calloc((size_t)count, sizeof **list);
    if (*list && receive(s->socket, *list, (size_t)count * sizeof **list, ANSWER_SECONDS))
        return RVX_OK;
    char how[96] = "";
    process_end(s, how, sizeof how);
    std::free(*list);
    *list = nullptr;
    return rvx__fail(error, RVX_ERROR_MEMORY, "%s: no memory for a list of %lld", path,
                     (long long)count);
}

rvx_status image_read(rvx_dicom_session *s, rvx_dicom_image *image, const char *path,
                      rvx_error *error)
{
    std::memset(image, 0, sizeof *image);
    rvx_status status = request_set(s, path, error);
    if (status == RVX_OK)
        status = ask(s, nullptr, 0, error);
    if (status != RVX_OK)
        return status;
    *image = s->answer.image;
    image->frames = nullptr;
    image->segments = nullptr;
    status = list_receive(s, &image->frames, image->frame_count, path, error);
    if (status == RVX_OK)
        status = list_receive(s, &image->segments, image->segment_count, path, error);
    if (status != RVX_OK)
        rvx__gdcm_image_free(image);
    return status;
}

rvx_status frame_read(rvx_dicom_session *s, void *out, const char *path,
                      const rvx_dicom_image *image, int64_t frame, rvx_error *error)
{
    rvx_status status = request_set(s, path, error);
    if (status != RVX_OK)
        return status;
    s->request.voxels = true;
    s->request.image = *image;
    s->request.image.frames = nullptr;
    s->request.image.segments = nullptr;
    s->request.frame = frame;
    return ask(s, out, frame_bytes(image), error);
}

rvx_status session_open(rvx_dicom_session **session, rvx_error *error)
{
    *session = (rvx_dicom_session *)std::calloc(1, sizeof **session);
    return *session ? RVX_OK : rvx__fail(error, RVX_ERROR_MEMORY, "DICOM: out of memory");
}

void session_close(rvx_dicom_session *session)
{
    if (session && session->process) {
        int state;
        kill(session->process, SIGKILL);
        close(session->socket);
        waitpid(session->process, &state, 0);
    }
    std::free(session);
}

} // namespace

extern "C" __attribute__((visibility("default"))) const rvx_dicom *rvx_dicom_interface(void)
{
    static const rvx_dicom table = {RVX_DICOM_INTERFACE, session_open,         session_close,
                                    image_read,          rvx__gdcm_image_free, frame_read};
    return &table;
}
