/* A 16550A serial port (National Semiconductor PC16550D data sheet): all of its state, for vCPU threads and for
 * vmm/devices/serial.py, which has whoever sends to it and takes what it says. */
#include <stdint.h>

enum { SERIAL_REGISTERS = 8, SERIAL_WAITING = 4096, SERIAL_SENT = 1 << 14 };

/* Beside the value of an access: the interrupt's cause may be new; nothing was done, as there is no room for what is
 * sent before serial_take(). */
enum { SERIAL_RAISE = 0x100, SERIAL_FULL = 0x200 };

struct serial;
struct serial *serial_new(int sent_fd, int room_fd);
void serial_free(struct serial *port);
int serial_read(struct serial *port, uint32_t offset);
int serial_write(struct serial *port, uint32_t offset, uint8_t value);
int serial_receive(struct serial *port, const uint8_t *data, uint32_t bytes, uint32_t *taken);
uint32_t serial_take(struct serial *port, uint8_t *into);
uint64_t serial_sent(struct serial *port);
