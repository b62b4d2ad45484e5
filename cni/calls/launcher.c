/* The CNI plugin as a runtime starts it, natively: shim.py in C, see there and protocol.py. The interpreter's
 * start alone is 8 ms of a pod's, this one's is 0.2. Built by `python -m cni.calls.shims`, which gives PLUGIN and VERSIONS;
 * freestanding on x86-64, since libc's start takes 1 ms of a virtual machine (each CPUID is a way out of it). */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { DECLINED = 255, CONFIG_BYTES = 1 << 20, ENVIRONMENT_BYTES = 1 << 18, STDOUT_BYTES = 1 << 22 };
enum { STDERR_BYTES = 1 << 16, HEAD_BYTES = 12, TERMINAL_ATTRIBUTES = 0x5401 /* TCGETS */ };

int run(char **variables);

#if __STDC_HOSTED__
static long kernel(long number, long a, long b, long c, long d, long e) {
	long result = syscall(number, a, b, c, d, e, 0L);
	return result < 0 ? -errno : result;
}
int main(int count, char **arguments) { return run(arguments + count + 1); }
#else
static long kernel(long number, long a, long b, long c, long d, long e) {
	register long fourth __asm__("r10") = d, fifth __asm__("r8") = e, sixth __asm__("r9") = 0;
	__asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
			 : "rcx", "r11", "memory");
	return number;
}
/* The kernel leaves on the stack: the argument count, the arguments, NULL, the variables, NULL. */
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
void start(char **stack) { kernel(SYS_exit_group, run(stack + (long)stack[0] + 2), 0, 0, 0, 0); }
#endif
#define CALL(name, a, b, c, d, e) kernel(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

/* Of all these only what is used becomes memory. */
static char call[HEAD_BYTES + ENVIRONMENT_BYTES + CONFIG_BYTES + 2], out[STDOUT_BYTES], err[STDERR_BYTES];
static char *config = call + HEAD_BYTES, **environment; /* what came on stdin stands behind the variables */
static size_t config_size;
static const char *command;

static size_t length(const char *text) {
	size_t size = 0;
	for (; text[size]; size++);
	return size;
}
/* Return what follows `start` if `text` begins with it. */
static const char *after(const char *text, const char *start) {
	for (; *start && *text == *start; start++) text++;
	return *start ? NULL : text;
}
static int is_command(const char *name) { return after(command, name) && length(command) == length(name); }
static const char *variable(const char *assignment, const char *otherwise) {
	for (char **entry = environment; *entry; entry++)
		if (after(*entry, assignment)) return after(*entry, assignment);
	return otherwise;
}

/* Write, send or receive all of it; EINTR is a SIGSTOP or freezer that is over (signal(7), SO_RCVTIMEO). */
static int move(long number, int descriptor, const void *data, size_t size, int flags) {
	for (long done; size; data = (const char *)data + (done > 0 ? done : 0), size -= done > 0 ? done : 0)
		if ((done = kernel(number, descriptor, (long)data, size, flags, 0)) <= 0 && done != -EINTR)
			return -1;
	return 0;
}

static void say(const char *text) { move(SYS_write, 1, text, length(text), 0); }

/* Print the SPEC's object, in the configuration's version as far as it shows one. */
static int answer(int code, const char *start, const char *text, const char *end) {
	const char *at = NULL, *version = "1.1.0";
	for (size_t i = 0, size = 0; !at && i < config_size; i++)
		if ((at = after(config + i, "\"cniVersion\""))) {
			while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n' || *at == ':') at++;
			while (*at == '"' && ((at[1 + size] >= '0' && at[1 + size] <= '9') || at[1 + size] == '.')) size++;
			if (size && size < 16 && at[1 + size] == '"')
				config[at + 1 + size - config] = 0, version = at + 1;
		}
	say("{\"cniVersion\":\""), say(version), say(start), say(text), say(end);
	return code;
}
static int fail(const char *text) {
	return answer(1, is_command("STATUS") ? "\",\"code\":50,\"msg\":\"" : "\",\"code\":11,\"msg\":\"", text, "\"}\n");
}

/* Become the plugin itself, its stdin as ours was; return only if it is not there. */
static int run_plugin(int has_read) {
	char *const arguments[] = {PLUGIN, NULL};
	long in = has_read ? CALL(memfd_create, "config", 0, 0, 0, 0) : 0, got = config_size;
	for (char *part = config; has_read && got > 0; part = out, got = CALL(read, 0, out, sizeof out, 0, 0))
		move(SYS_write, in, part, got, 0);
	if (has_read)
		CALL(lseek, in, 0, SEEK_SET, 0, 0), CALL(dup3, in, 0, 0, 0, 0);
	CALL(execve, PLUGIN, arguments, environment, 0, 0);
	return is_command("VERSION") ? answer(0, "\",\"supportedVersions\":", VERSIONS, "}\n")
				     : fail("cni-agent is not there, and neither is " PLUGIN);
}

/* Say that the agent is there and does not answer; what must always work is done without it. */
static int no_answer(void) {
	return is_command("DEL") || is_command("VERSION") ? run_plugin(1) : fail("cni-agent does not answer");
}

/* Put the call together; return its size, 0 if it is more than an agent takes. */
static size_t render_call(void) {
	size_t room = ENVIRONMENT_BYTES;
	for (char **entry = environment; *entry && room; entry++)
		for (char *from = *entry; room && (--room, *config++ = *from++);) continue;
	size_t block = config - call - HEAD_BYTES;
	for (long got = 1; got > 0 && config_size <= CONFIG_BYTES; config_size += got > 0 ? got : 0)
		got = CALL(read, 0, config + config_size, CONFIG_BYTES + 1 - config_size, 0, 0);
	uint32_t head[] = {htonl(0x4e504331) /* NPC1 */, htonl(block), htonl(config_size)};
	for (int i = 0; i < HEAD_BYTES; i++) call[i] = ((char *)head)[i];
	return room && config_size <= CONFIG_BYTES ? HEAD_BYTES + block + config_size : 0;
}

int run(char **variables) {
	static struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct timeval limit = {0, 0};
	uint32_t head[2], tail;
	environment = variables, command = variable("CNI_COMMAND=", "");
	if (!*command || (is_command("VERSION") && !CALL(ioctl, 0, TERMINAL_ATTRIBUTES, out, 0, 0)))
		return run_plugin(0);
	const char *path = variable("NODEPLANE_CNI_SOCKET=", "/run/nodeplane/cni.sock");
	const char *deadline = variable("NODEPLANE_CNI_DEADLINE_S=", "25");
	for (; *deadline >= '0' && *deadline <= '9'; deadline++)
		limit.tv_sec = limit.tv_sec * 10 + *deadline - '0';
	for (int unit = 100000; *deadline && *++deadline >= '0' && *deadline <= '9'; unit /= 10)
		limit.tv_usec += (*deadline - '0') * unit;
	size_t size = render_call();
	int agent = CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0, 0);
	if (!size || agent < 0 || length(path) >= sizeof name.sun_path) return run_plugin(1);
	for (size_t i = 0; path[i]; i++) name.sun_path[i] = path[i];
	CALL(setsockopt, agent, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	CALL(setsockopt, agent, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	long refusal = CALL(connect, agent, &name, sizeof name, 0, 0);
	if (refusal) return refusal == -EAGAIN ? no_answer() : run_plugin(1);
	if (move(SYS_sendto, agent, call, size, MSG_NOSIGNAL) || move(SYS_recvfrom, agent, head, sizeof head, MSG_WAITALL))
		return no_answer();
	uint32_t verdict = ntohl(head[0]), out_size = ntohl(head[1]);
	if (verdict > DECLINED || out_size > STDOUT_BYTES || move(SYS_recvfrom, agent, out, out_size, MSG_WAITALL))
		return no_answer();
	if (verdict == DECLINED) return run_plugin(1);
	move(SYS_write, 1, out, out_size, 0);
	if (!move(SYS_recvfrom, agent, &tail, sizeof tail, MSG_WAITALL) && (tail = ntohl(tail)) <= STDERR_BYTES &&
	    !move(SYS_recvfrom, agent, err, tail, MSG_WAITALL))
		move(SYS_write, 2, err, tail, 0);
	return verdict;
}
