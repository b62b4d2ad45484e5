/* The CNI plugin as a runtime starts it, natively: shim.py in C, see there and call_protocol.py. The interpreter's
 * start alone is 8 ms of a pod's; this one's is 0.5 ms. Built by `python -m cni.shims`, which gives PLUGIN. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { DECLINED = 255, CONFIG_BYTES = 1 << 20, ENVIRONMENT_BYTES = 1 << 18, STDOUT_BYTES = 1 << 22 };

extern char **environ;
static char *config; /* what came on stdin, closed by a zero byte */
static size_t config_size;

static void write_all(int to, const char *data, size_t size) {
	for (ssize_t done; size && (done = write(to, data, size)) > 0; data += done, size -= done)
		;
}

/* Print the SPEC's error object, in the configuration's version as far as it shows one. */
static int fail(int code, const char *message, const char *detail) {
	const char *key = "\"cniVersion\"", *at = config ? memmem(config, config_size, key, strlen(key)) : NULL;
	char version[16] = "1.1.0", line[512];
	if (at) {
		at += strlen(key);
		at += strspn(at, " \t\r\n:");
		size_t size = *at == '"' ? strspn(at + 1, "0123456789.") : 0;
		if (size && size < sizeof version && at[1 + size] == '"')
			snprintf(version, sizeof version, "%.*s", (int)size, at + 1);
	}
	int size = snprintf(line, sizeof line, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s%s\"}\n", version, code,
			    message, detail);
	write_all(1, line, size);
	return 1;
}

/* Become the plugin itself, its stdin as ours was; return only if it is not there. */
static int run_plugin(void) {
	if (config) {
		int in = memfd_create("config", 0);
		write_all(in, config, config_size);
		lseek(in, 0, SEEK_SET);
		dup2(in, 0);
	}
	execl(PLUGIN, PLUGIN, (char *)NULL);
	return fail(11, "cni-agent is not there, and neither is ", PLUGIN);
}

/* Say that the agent is there and does not answer; what must always work is done without it. */
static int no_answer(const char *command) {
	if (!strcmp(command, "DEL") || !strcmp(command, "VERSION"))
		return run_plugin();
	return fail(strcmp(command, "STATUS") ? 11 : 50, "cni-agent does not answer", "");
}

static void read_config(void) {
	size_t room = 0;
	for (ssize_t got = 1; got > 0; config_size += got > 0 ? got : 0) {
		if (room - config_size < 2 && !(config = realloc(config, room += 1 << 16)))
			_exit(1);
		got = read(0, config + config_size, room - config_size - 1);
	}
	config[config_size] = 0;
}

static int send_all(int agent, const char *data, size_t size) {
	for (ssize_t done; size; data += done, size -= done)
		if ((done = send(agent, data, size, MSG_NOSIGNAL)) <= 0)
			return -1;
	return 0;
}

static int receive(int agent, char *data, size_t size) {
	for (ssize_t got; size; data += got, size -= got)
		if ((got = recv(agent, data, size, MSG_WAITALL)) <= 0)
			return -1;
	return 0;
}

static char *render_call(size_t *size) {
	size_t block = 0;
	for (char **entry = environ; *entry; entry++)
		block += strlen(*entry) + 1;
	if (block > ENVIRONMENT_BYTES || config_size > CONFIG_BYTES)
		return NULL;
	char *call = malloc(*size = 12 + block + config_size), *at = call + 12;
	if (!call)
		return NULL;
	uint32_t sizes[2] = {htonl(block), htonl(config_size)};
	memcpy(call, "NPC1", 4);
	memcpy(call + 4, sizes, 8);
	for (char **entry = environ; *entry; entry++)
		at = stpcpy(at, *entry) + 1;
	memcpy(at, config, config_size);
	return call;
}

int main(void) {
	const char *command = getenv("CNI_COMMAND"), *path = getenv("NODEPLANE_CNI_SOCKET");
	const char *deadline = getenv("NODEPLANE_CNI_DEADLINE_S");
	double seconds = atof(deadline ? deadline : "25");
	struct timeval limit = {.tv_sec = (long)seconds, .tv_usec = (long)((seconds - (long)seconds) * 1e6)};
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	uint32_t head[2];
	size_t size;

	if (!command || !*command || (!strcmp(command, "VERSION") && isatty(0)))
		return run_plugin();
	read_config();
	char *call = render_call(&size);
	int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!path)
		path = "/run/nodeplane/cni.sock";
	if (!call || agent < 0 || strlen(path) >= sizeof name.sun_path)
		return run_plugin();
	strcpy(name.sun_path, path);
	setsockopt(agent, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	setsockopt(agent, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (connect(agent, (struct sockaddr *)&name, sizeof name))
		return errno == EAGAIN ? no_answer(command) : run_plugin();
	if (send_all(agent, call, size) || receive(agent, (char *)head, sizeof head))
		return no_answer(command);
	uint32_t verdict = ntohl(head[0]), stdout_size = ntohl(head[1]);
	char *out = verdict > DECLINED || stdout_size > STDOUT_BYTES ? NULL : malloc(stdout_size + 1);
	if (!out || receive(agent, out, stdout_size))
		return no_answer(command);
	if (verdict == DECLINED)
		return run_plugin();
	write_all(1, out, stdout_size);
	return verdict;
}
