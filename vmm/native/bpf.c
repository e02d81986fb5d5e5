/* libbpf, with its messages kept for the error that may follow. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Those of the thread's own: several load at the same time.  A verifier log may be long: some hundred bytes for each of
 * a million instructions. */
static __thread char *messages;
static __thread size_t messages_bytes;

static int keep_message(enum libbpf_print_level level, const char *format, va_list arguments)
{
	va_list again;
	char *longer;
	int bytes;

	if (level == LIBBPF_DEBUG)
		return 0;
	va_copy(again, arguments);
	bytes = vsnprintf(NULL, 0, format, again);
	va_end(again);
	longer = bytes < 0 ? NULL : realloc(messages, messages_bytes + bytes + 1);
	if (!longer)
		return 0;
	messages = longer;
	messages_bytes += vsnprintf(messages + messages_bytes, bytes + 1, format, arguments);
	return 0;
}

static void messages_clear(void)
{
	libbpf_set_print(keep_message);
	free(messages);
	messages = NULL;
	messages_bytes = 0;
}

/* What libbpf has said since then, `bytes` of it. */
static const char *messages_text(size_t *bytes)
{
	*bytes = messages_bytes;
	return messages;
}

static struct bpf_object *object_open(const char *path)
{
	return bpf_object__open_file(path, NULL);
}

/* If there is a program `name`, leave `other` out; whether there is. */
static int object_prefer(struct bpf_object *object, const char *name, const char *other)
{
	struct bpf_program *left_out = bpf_object__find_program_by_name(object, other);

	if (!bpf_object__find_program_by_name(object, name))
		return 0;
	if (left_out)
		bpf_program__set_autoload(left_out, false);
	return 1;
}

/* Where a `const volatile` variable lies in .rodata, from the object's own BTF: its offset, with
 * the size stored, or -ENOENT. */
static int constant_place(struct bpf_object *object, const char *name, uint32_t *size)
{
	struct btf *btf = bpf_object__btf(object);
	int id = btf ? btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC) : -ENOENT;
	const struct btf_type *section = id < 0 ? NULL : btf__type_by_id(btf, id);
	const struct btf_var_secinfo *place = section ? btf_var_secinfos(section) : NULL;

	for (int i = 0; section && i < btf_vlen(section); i++, place++) {
		const struct btf_type *variable = btf__type_by_id(btf, place->type);

		if (!strcmp(btf__name_by_offset(btf, variable->name_off), name)) {
			*size = place->size;
			return place->offset;
		}
	}
	return -ENOENT;
}

/* A map of this kind: its file descriptor, or -errno. */
static int map_new(int kind, const char *name, int key, int value, int entries, int flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	int fd = bpf_map_create(kind, name, key, value, entries, &options);

	return fd < 0 ? -errno : fd;
}

/* A program that is attached somewhere on the host. */
struct attached {
	uint32_t link;			/* its number */
	uint32_t map_count, map[16];	/* those of the program's */
};

/* The first link after number `link` whose program has this name: false if there is none, or this process may not look. */
static int attached_next(uint32_t link, const char *name, struct attached *found)
{
	while (!bpf_link_get_next_id(link, &link)) {
		struct bpf_link_info info = { 0 };
		struct bpf_prog_info program = { .nr_map_ids = 16, .map_ids = (uintptr_t)found->map };
		uint32_t bytes = sizeof(info), program_bytes = sizeof(program);
		int fd = bpf_link_get_fd_by_id(link), program_fd = -1, same = 0;

		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &bytes))
			program_fd = bpf_prog_get_fd_by_id(info.prog_id);
		if (program_fd >= 0 && !bpf_obj_get_info_by_fd(program_fd, &program, &program_bytes))
			same = !strcmp(program.name, name);
		found->link = link;
		found->map_count = program.nr_map_ids < 16 ? program.nr_map_ids : 16;
		if (program_fd >= 0)
			close(program_fd);
		if (fd >= 0)
			close(fd);
		if (same)
			return 1;
	}
	return 0;
}

/* The map of that number: its descriptor, its name, and the bytes of a value; negative if it is gone. */
static int map_open(uint32_t id, char name[16], uint32_t *value_bytes)
{
	struct bpf_map_info info = { 0 };
	uint32_t bytes = sizeof(info);
	int fd = bpf_map_get_fd_by_id(id);

	if (fd < 0)
		return -1;
	if (bpf_obj_get_info_by_fd(fd, &info, &bytes)) {
		close(fd);
		return -1;
	}
	memcpy(name, info.name, 16);
	*value_bytes = info.value_size;
	return fd;
}

static int program_fd(struct bpf_object *object, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	return program ? bpf_program__fd(program) : -ENOENT;
}

/* Run a raw tracepoint's program once, on this thread, with the tracepoint's arguments, of which the
 * kernel takes 12 at most: what it returned, or -errno. */
static int run_program(int fd, const uint64_t *given, uint32_t count)
{
	uint64_t arguments[12] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = arguments, .ctx_size_in = sizeof(arguments));
	int result;

	if (count > 12)
		return -E2BIG;
	memcpy(arguments, given, count * sizeof(*given));
	result = bpf_prog_test_run_opts(fd, &options);

	return result < 0 ? -errno : (int)options.retval;
}

/* Records of one size, out of a ring buffer. */
struct record_reader {
	struct ring_buffer *buffer;
	uint8_t *records;
	uint32_t size, count, most;
};

static int keep_record(void *context, void *data, size_t size)
{
	struct record_reader *reader = context;

	if (size >= reader->size && reader->count < reader->most)
		memcpy(reader->records + reader->size * reader->count++, data, reader->size);
	return reader->count == reader->most ? -ENOSPC : 0;
}

static struct record_reader *records_open(int map_fd, uint32_t size)
{
	struct record_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return NULL;
	reader->size = size;
	reader->buffer = ring_buffer__new(map_fd, keep_record, reader, NULL);
	if (reader->buffer)
		return reader;
	free(reader);
	return NULL;
}

/* Readable when there are records. */
static int records_fd(struct record_reader *reader)
{
	return ring_buffer__epoll_fd(reader->buffer);
}

/* Take what is there: how many were put into `records`, or -errno. */
static int records_take(struct record_reader *reader, void *records, uint32_t most)
{
	int got;

	reader->records = records;
	reader->count = 0;
	reader->most = most;
	got = ring_buffer__consume(reader->buffer);
	return got < 0 && got != -ENOSPC ? got : (int)reader->count;
}

static void records_close(struct record_reader *reader)
{
	ring_buffer__free(reader->buffer);
	free(reader);
}
