// In place of the system's: nothing forks.
#pragma once

template <class A, class B, class C>
int pthread_atfork(A, B, C) {
    return 0;
}
