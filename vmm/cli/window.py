"""Shows pictures in a window: `python window.py WIDTH HEIGHT`, with RGB bytes on standard input, picture after
picture.  Run as a program of its own, which imports nothing of ours."""

import signal
import sys
import threading
import tkinter


def main(width: int, height: int) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())      # `splitvmm run` takes its own by a thread
    window = tkinter.Tk()
    window.title("splitvmm")
    label = tkinter.Label(window)
    label.pack()
    pictures: list[bytes] = []

    def read() -> None:
        while len(data := sys.stdin.buffer.read(width * height * 3)) == width * height * 3:
            pictures[:] = [data]

    def show() -> None:
        if pictures:
            label.picture = tkinter.PhotoImage(data=b"P6 %d %d 255\n" % (width, height) + pictures.pop())
            label.config(image=label.picture)
        window.after(20, show)
    threading.Thread(target=read, daemon=True).start()
    show()
    window.mainloop()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
